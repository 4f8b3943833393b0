"""What a track is: detectors change their mind from picture to picture (car, truck, car), a track should not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamvision.track.kalman import Float64
from streamvision.types import Float32, Int32

_CHALLENGER_LEAD = 1.2
"""How many times the votes of a track's class another one needs, so that a tie does not flicker."""

_FAMILIAR_SHARE = 0.2
"""The share of a track's votes from which a class counts as one of its own."""


class ClassBallot:
    """The classes that a stream has shown; class ids map to columns of the vote tables (T, C)."""

    def __init__(self) -> None:
        self.known: Int32 = np.empty(0, np.int32)

    def columns(self, class_id: Int32) -> NDArray[np.intp]:
        """Return the column of each class id (N,), adding columns for those never seen before."""
        same = class_id[:, None] == self.known
        if np.count_nonzero(same) < len(class_id):
            self.known = np.concatenate((self.known, np.setdiff1d(class_id, self.known)))
            same = class_id[:, None] == self.known
        columns: NDArray[np.intp] = same.nonzero()[1]
        return columns

    def widen(self, votes: Float64) -> Float64:
        """Return the vote table with a column for every known class."""
        missing = len(self.known) - votes.shape[1]
        return np.pad(votes, ((0, 0), (0, missing))) if missing else votes

    def first(self, columns: NDArray[np.intp], score: Float32) -> Float64:
        """Return the vote table (N, C) of new tracks."""
        votes = np.zeros((len(columns), len(self.known)))
        votes[np.arange(len(columns)), columns] = score
        return votes

    def winners(self, votes: Float64, held: Int32) -> Int32:
        """Return the class of each track (T,) by its votes (T, C); ``held`` is its class until now."""
        best = votes.argmax(axis=1)
        rows = np.arange(len(votes))
        overtaken = votes[rows, best] > _CHALLENGER_LEAD * votes[rows, self.columns(held)]
        return np.where(overtaken, self.known[best], held)


def unfamiliar(votes: Float64, columns: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return (T, N): whether detection n shows a class that track t has (almost) never been."""
    needed = _FAMILIAR_SHARE * votes.sum(axis=1, keepdims=True)
    return np.asarray(votes[:, columns] < needed)

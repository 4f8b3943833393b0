"""What should have arrived beside what has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.e2e.delivery.receivers import Arrival


@dataclass(frozen=True)
class Ledger:
    """``due`` in the order of the store, ``arrived`` in that of arrival, with everything that came twice."""

    due: Sequence[Arrival]
    arrived: Sequence[Arrival]

    @property
    def missing(self) -> set[Arrival]:
        return set(self.due) - set(self.arrived)

    @property
    def alien(self) -> set[Arrival]:
        """What arrived and was never due."""
        return set(self.arrived) - set(self.due)

    @property
    def repeated(self) -> int:
        """How many arrivals were not the first of their event."""
        return len(self.arrived) - len(set(self.arrived))

    @property
    def disordered(self) -> list[str]:
        """Streams whose events did not arrive, for the first time, in the order of the store."""
        firsts = list(dict.fromkeys(self.arrived))
        streams = sorted({stream for _, stream in self.due})
        return [name for name in streams if _of(firsts, name) != _of(self.due, name)]

    def repeats(self) -> list[tuple[int, int]]:
        """Return where each repeated arrival came, and where the same event had come before."""
        last: dict[Arrival, int] = {}
        found = []
        for index, one in enumerate(self.arrived):
            if one in last:
                found.append((last[one], index))
            last[one] = index
        return found

    def __str__(self) -> str:
        order = f"broken: {self.disordered}" if self.disordered else "kept"
        return (
            f"{len(self.due)} due, {len(set(self.arrived))} arrived, {len(self.missing)} missing,"
            f" {len(self.alien)} not due, {self.repeated} repeated, order {order}"
        )

    @property
    def holds(self) -> bool:
        """Whether nothing is missing or made up, and the order is kept."""
        return bool(self.due) and not (self.missing or self.alien or self.disordered)


def _of(arrivals: Sequence[Arrival], stream: str) -> list[Arrival]:
    return [one for one in arrivals if one[1] == stream]

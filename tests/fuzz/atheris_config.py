"""Configuration text, led by coverage: ``python -m tests.fuzz.atheris_config --runs 100000`` (needs atheris).

libFuzzer starts from the configurations that ship with the program. It ends with 0 after so many runs or seconds, and
with something else, and the text in a file ``crash-...`` of ``--folder``, as soon as anything but a
`StreamvisionError` with its places comes out of `load_settings`.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["streamvision.config", "ruamel.yaml"]):
    from streamvision.config import load_settings
    from streamvision.errors import ConfigError
from streamvision.engine.manifest import labels_of, maps_of
from streamvision.resources import shipped

MOST_BYTES = 2 << 30
"""No text needs so much memory; one that takes more ends in a MemoryError, which is no refusal with places."""


def try_text(path: Path, raw: bytes) -> None:
    """Load one text. Raises whatever is no refusal with places."""
    path.write_bytes(raw)
    try:
        load_settings(
            path, env={"CAM_USER": "a-user", "CAM_PASSWORD": "a-secret"}, labels_of=labels_of, maps_of=maps_of
        )
    except ConfigError as refusal:
        placed = all(each.file == str(path) and each.line >= 1 and each.column >= 1 for each in refusal.problems)
        if not refusal.problems or not placed:
            raise AssertionError("a refusal without its places") from refusal


def main() -> None:
    """Fuzz for so many runs, or so long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=-1, help="texts in all; by default without end")
    parser.add_argument("--seconds", type=int, default=0, help="stop after so long; by default never")
    parser.add_argument(
        "--folder", type=Path, help="where its files go, and a text that breaks it; by default a new one"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="streamvision-fuzz-"))
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    corpus = folder / "corpus"
    corpus.mkdir()
    for path in shipped("configs").glob("*.yaml"):
        shutil.copy(path, corpus)
    options = [
        f"-runs={given.runs}",
        f"-max_total_time={given.seconds}",
        f"-seed={given.seed}",
        "-max_len=8192",
        "-rss_limit_mb=0",  # it takes the largest size that the process, or whoever started it, ever had
        f"-artifact_prefix={folder}/",
    ]
    atheris.Setup(
        [sys.argv[0], *options, str(corpus)],
        lambda raw: try_text(folder / "config.yaml", raw),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()

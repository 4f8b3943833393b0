"""Serve files as cameras until Ctrl-C: ``python -m tests.servers gate=a.mp4 yard=b.mp4 [--port N] [--gop-s S]``."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from .rtsp import RtspServer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mounts", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--gop-s", type=float)
    arguments = parser.parse_args()
    mounts = {name: Path(path) for name, path in (mount.split("=", 1) for mount in arguments.mounts)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with RtspServer(mounts, port=arguments.port, gop_s=arguments.gop_s) as server:
        for name in mounts:
            print(server.url(name), flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("ended")


main()

"""The daemon's threads share a few heaps, and what is free in them is given back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, re, sys, threading
from streamvision.cli._heap import few_arenas
few_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(8)
def allocate():
    together.wait()
    for _ in range(1000):
        assert libc.malloc(5000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
print(len(re.findall("<heap nr=", open(sys.argv[1]).read())))
"""


@pytest.mark.parametrize(("environment", "most"), [({}, 2), ({"MALLOC_ARENA_MAX": "1"}, 1)], ids=["ours", "the user's"])
def test_many_threads_share_few_heaps(environment, most, tmp_path):
    if "glibc" not in os.confstr("CS_GNU_LIBC_VERSION").lower():
        pytest.skip("not glibc")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "heaps")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=clean | environment)
    assert ended.returncode == 0, ended.stderr
    assert 1 <= int(ended.stdout) <= most


LEAN = """
import ctypes, time, psutil
from streamvision.cli._heap import give_back_regularly
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
resident_mb = lambda: psutil.Process().memory_info().rss >> 20
blocks = [libc.malloc(100_000) for _ in range(1000)]
for block in blocks: ctypes.memset(ctypes.c_void_p(block), 1, 100_000)
above = libc.malloc(100_000)
for block in blocks: libc.free(block)
full_mb = resident_mb()
until_s = time.monotonic() + 60
give_back_regularly(0.05)
while resident_mb() > full_mb - 80 and time.monotonic() < until_s: time.sleep(0.05)
print(full_mb - resident_mb())
"""


def test_what_is_free_below_a_block_in_use_is_given_back():
    if "glibc" not in os.confstr("CS_GNU_LIBC_VERSION").lower():
        pytest.skip("not glibc")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    ended = subprocess.run(
        [sys.executable, "-c", LEAN], capture_output=True, text=True, timeout=120, check=False, env=clean
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) >= 80

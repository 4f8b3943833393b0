"""Runs a command under a unit's system-call filter: ``python -m tests.service.confined UNIT COMMAND...``."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

ACT_ALLOW = 0x7FFF0000
ACT_ERRNO = 0x00050000


def members(name: str) -> set[str]:
    """The calls of a set, as systemd resolves it; a call's own name is itself."""
    if not name.startswith("@"):
        return {name}
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    lines = [line.strip() for line in said.stdout.splitlines()[1:]]
    return set().union(*(members(line) for line in lines if line and not line.startswith("#")))


def allowed(unit: str) -> set[str]:
    """The calls that a unit's allow list lets through (systemd.exec(5), SystemCallFilter=)."""
    calls = members("@default")
    for line in unit.splitlines():
        key, _, value = line.partition("=")
        if key == "SystemCallFilter":
            named = set().union(*(members(name) for name in value.removeprefix("~").split()))
            calls = calls - named | members("@default") if value.startswith("~") else calls | named
    return calls


def confine(calls: set[str]) -> None:
    """Let this process, and what it becomes, make only these calls; any other is not permitted (seccomp(3))."""
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(seccomp.seccomp_init(ACT_ERRNO | errno.EPERM))
    for call in sorted(calls):
        number = seccomp.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:  # below are those of other architectures
            assert seccomp.seccomp_rule_add(rules, ACT_ALLOW, number, 0) == 0, call
    assert seccomp.seccomp_load(rules) == 0, "the kernel takes no filter"


if __name__ == "__main__":
    confine(allowed(Path(sys.argv[1]).read_text()))
    os.execv(sys.argv[2], sys.argv[2:])

"""Annotation files, opened with suspicion: size and depth are bounded, a mistake has its line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import streamvision.dataset.findings as kinds
from streamvision.dataset.findings import Findings

MAX_JSON_BYTES = 2 << 30
"""COCO's own largest file has 470 MB."""
MAX_TEXT_BYTES = 16 << 20

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def read_json(path: Path, findings: Findings, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return what a JSON file holds; None, and a finding, where it cannot be read."""
    raw = read_bytes(path, findings, max_bytes)
    if raw is None:
        return None
    try:
        return json.loads(raw)
    except json.JSONDecodeError as error:
        findings.add(kinds.BROKEN_FILE, f"{path}:{error.lineno}:{error.colno}", f"this is not JSON: {error.msg}")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        findings.add(kinds.BROKEN_FILE, f"{path}:{line}", "this is not UTF-8 text")
    except (RecursionError, ValueError) as error:  # brackets without end; a number of thousands of digits
        findings.add(kinds.HOSTILE_FILE, path, f"this cannot be read as JSON: {error}")
    return None


def read_bytes(path: Path, findings: Findings, max_bytes: int = MAX_TEXT_BYTES) -> bytes | None:
    """Return a file's bytes; None, and a finding, where it cannot be read or is too large."""
    try:
        size = path.stat().st_size
        if size <= max_bytes and path.is_file():
            return path.read_bytes()
    except OSError as error:
        findings.add(kinds.MISSING_FILE, path, error.strerror or str(error))
        return None
    findings.add(kinds.HOSTILE_FILE, path, f"it has {size} bytes" if size > max_bytes else "it is no regular file")
    return None


def read_text(path: Path, findings: Findings) -> str | None:
    """Return a text file; None, and a finding, where it cannot be read as UTF-8."""
    raw = read_bytes(path, findings)
    if raw is None:
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        findings.add(kinds.BROKEN_FILE, f"{path}:{line}", "this is not UTF-8 text")
    return None


def inside(root: Path, name: str) -> Path | None:
    """Return the path of a file that a set names, below ``root``; None where the name leads out of it.

    Symbolic links are followed: who made the folder may keep its pictures elsewhere.
    """
    if "\0" in name or os.path.isabs(name) or not _encodable(name):
        return None
    path = os.path.normpath(name)
    return None if path.split(os.sep)[0] in ("..", ".") else root / path


def _encodable(name: str) -> bool:
    """Whether a file can be called so: JSON can hold half a character."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures below a folder, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())

"""``${NAME}`` in a configuration: an environment variable, or a systemd credential of that name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import quote, unquote

from pydantic import BaseModel, SecretStr

from streamvision.config.document import Document, Path

_PLACEHOLDER = re.compile(r"\$\$\{|\$\{(?P<name>[^}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_USERINFO = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<userinfo>[^/?#]*)@")


def written_secrets(value: Any) -> Iterator[str]:
    """Yield what is secret in a section although it was written into the file: secret options, passwords in URLs."""
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        yield from (text, *_passwords(text))
    elif isinstance(value, str):
        yield from _passwords(value)
    elif isinstance(value, BaseModel):
        for _, inner in value:
            yield from written_secrets(inner)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from written_secrets(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from written_secrets(inner)


def _passwords(text: str) -> Iterator[str]:
    """Yield the password of a URL as it stands there, and as it is meant."""
    userinfo = _USERINFO.match(text)
    password = userinfo["userinfo"].partition(":")[2] if userinfo else ""
    if password:
        yield from {password, unquote(password)}


class Expander:
    """Replaces placeholders in a document's texts and remembers the values as secrets."""

    def __init__(self, document: Document, env: Mapping[str, str]) -> None:
        self._document = document
        self._env = env
        self._credentials = env.get("CREDENTIALS_DIRECTORY")

    def expand(self) -> None:
        """Expand every text of the document in place; what is missing becomes a problem at its place."""
        self._document.data = self._walk(self._document.data, ())

    def _walk(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: self._walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walk(item, (*path, index)) for index, item in enumerate(value)]
        return self._text(value, path) if isinstance(value, str) and "${" in value else value

    def _text(self, text: str, path: Path) -> str:
        # A password may hold '@' or '/', so inside user:password@ of a URL it is percent-encoded.
        userinfo = _USERINFO.match(text)
        encoded = userinfo.span("userinfo") if userinfo else (0, 0)

        def replace(found: re.Match[str]) -> str:
            if found["name"] is None:
                return "${"
            value = self._lookup(found["name"], path, closed=found[0].endswith("}"))
            return self._quoted(value) if encoded[0] <= found.start() < encoded[1] else value

        self._document.expanded.add(path)
        return _PLACEHOLDER.sub(replace, text)

    def _quoted(self, value: str) -> str:
        quoted = quote(value, safe="")
        self._document.secrets.update({quoted} - {""})
        return quoted

    def _lookup(self, name: str, path: Path, *, closed: bool) -> str:
        if not closed or not _NAME.fullmatch(name):
            self._document.broken.add(path)
            self._document.problem(path, f"'${{{name}' is not a placeholder", "write ${NAME}; a literal ${ is $${")
            return ""
        value = self._env.get(name)
        if value is None:
            value = self._credential(name)
        if value is None:
            self._document.broken.add(path)
            self._document.problem(
                path, f"${{{name}}} is not set", f"set the environment variable or systemd credential {name}"
            )
            return ""
        self._document.secrets.update({value} - {""})
        return value

    def _credential(self, name: str) -> str | None:
        if not self._credentials:
            return None
        # LoadCredential=streamvision:FOLDER puts the folder's name and _ in front of each file's.
        for file in (name, f"streamvision_{name}"):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                return (FilePath(self._credentials) / file).read_text("utf-8").rstrip("\r\n")
        return None

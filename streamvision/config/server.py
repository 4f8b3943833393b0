"""A server section that is well formed and yet wrong: tokens that can be guessed, certificates that are not there."""

from __future__ import annotations

import os
from pathlib import Path as FilePath

from streamvision.config.document import Document
from streamvision.config.settings import LEAST_TOKEN, ServerSettings


def judge_server(document: Document, server: ServerSettings, folder: FilePath) -> ServerSettings:
    """Return the section with absolute paths; what is wrong goes to the document."""
    if weak := server.weak_token:
        document.problem(
            ("server", "tokens", weak), f"a token that others may try has {LEAST_TOKEN} characters at least",
            "for example: openssl rand -hex 24",
        )  # fmt: skip
    if server.tls is None:
        return server
    files = {name: path for name, path in server.tls.model_dump().items() if path is not None}
    absolute = {name: os.path.normpath(folder / FilePath(path).expanduser()) for name, path in files.items()}
    for name, path in absolute.items():
        if not os.path.isfile(path):
            document.problem(("server", "tls", name), f"there is no file {path}", "give the path of a PEM file")
    return server.model_copy(update={"tls": server.tls.model_copy(update=absolute)})

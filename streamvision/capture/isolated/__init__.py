"""A source in a process of its own: a codec that crashes or hangs costs one stream a moment, and nothing else.

The daemon's side (`source`) starts the child (`child`) with two memory files and a socket. The child reads ahead by as
many reads as there are files: it writes a read's planes into the next free one and tells by a message what lies where;
the daemon copies them out and gives the file back. Messages are JSON and lengths are checked (`wire`), because a child
that decodes what strangers send is not to be believed.
"""

from __future__ import annotations

from streamvision.capture.isolated.source import START_S, IsolatedSource

__all__ = ["START_S", "IsolatedSource"]

"""A receiver of webhooks in a process of its own, seen from a test; see `hook` for what runs in it."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.harness import free_port, wait_until
from tests.servers.authority import Authority

ROOT = Path(__file__).parents[2]
GOOD = {"status": 204}


class HttpReceiver:
    """The receiver's process; a `tests.e2e.delivery.receivers.Receiver`."""

    faults = ("kill", "freeze", "slow", "reject")
    once = False

    def __init__(self, folder: Path, *, tls: bool = True, clients: bool = False) -> None:
        self.folder = folder / "receiver"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(folder / "authority")
        self.port = free_port()
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}/hook"
        self._command = [sys.executable, "-m", "tests.servers.hook", str(self.folder), str(self.port)]
        if tls:
            self._command += ["--tls", *map(str, self.authority.issue("server"))]
        if clients:
            self._command += ["--clients", str(self.authority.ca)]
        self._process: subprocess.Popen[bytes] | None = None
        self._received: list[tuple[str, str]] = []
        self._read_to = 0
        self.behave()

    def options(self) -> str:
        return (
            f"type: webhook, url: '{self.url}', tls: {{ca: '{self.authority.ca}'}}, secrets: [0123456789abcdef],"
            " connect_timeout: 1s, read_timeout: 1s, timeout: 2s"
        )

    def behave(self, **behaviour: Any) -> None:
        """Answer like this from now on; without arguments, 204."""
        draft = self.folder / "behaviour.draft"
        draft.write_text(json.dumps(GOOD | behaviour))
        draft.rename(self.folder / "behaviour.json")

    def start(self) -> None:
        process = self._process = subprocess.Popen(self._command, cwd=ROOT)
        ready = self.folder / f"ready-{process.pid}"
        wait_until(lambda: ready.exists() or process.poll() is not None, 60.0)
        assert process.poll() is None, "the receiver did not start"

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def slow(self, on: bool) -> None:
        self.behave(delay_s=0.2 if on else 0)

    def reject(self, on: bool) -> None:
        self.behave(**({"status": 503, "body": "busy"} if on else {}))

    def requests(self) -> list[dict[str, Any]]:
        """Every request that was taken; ``body`` as bytes."""
        path = self.folder / "requests.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        requests = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [request | {"body": base64.b64decode(request["body"])} for request in requests]

    def events(self) -> list[dict[str, Any]]:
        """Every event that was taken, out of structured and batched requests."""
        bodies = [json.loads(request["body"]) for request in self.requests()]
        return [event for body in bodies for event in (body if isinstance(body, list) else [body])]

    def received(self) -> list[tuple[str, str]]:
        path = self.folder / "requests.jsonl"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read_to)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read_to += len(line)
                    body = json.loads(base64.b64decode(json.loads(line)["body"]))
                    events = body if isinstance(body, list) else [body]
                    self._received += [(event["id"], event["data"]["stream"]) for event in events]
        return list(self._received)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            self._end(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._signal(number)
        self._process.wait(30)

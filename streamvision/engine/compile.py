"""A network -> the same network compiled on a backend, by way of the cache.

An engine that is in the cache is loaded; one that is not is converted to its precision, compiled, stored and loaded,
by one builder at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, ValidationError

from streamvision import __version__
from streamvision.engine import samples
from streamvision.engine.backends import BackendPlugin, CompiledNetwork, Network, Precision, Progress, TensorInput
from streamvision.engine.cache import EngineCache, Entry, Key
from streamvision.engine.models import sha256_of
from streamvision.errors import EngineError, StaleEngine, UsageError
from streamvision.types import InputSpec, UInt8

CALIBRATION_PICTURES = 100
"""More of them change an int8 network's ranges no further, and cost time."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The pictures whose values an int8 network is fitted to. ``name`` identifies the set in cache keys."""

    name: str
    pictures: Callable[[InputSpec], Sequence[UInt8]]


def calibration_of(folder: Path) -> Calibration:
    """Return a folder's pictures as a calibration set. Raises `UsageError` if it has none."""
    digest = hashlib.sha256()
    for path in samples.files(folder):
        digest.update(bytes.fromhex(sha256_of(path)))
    return Calibration(
        digest.hexdigest(), lambda spec: samples.pictures(spec, folder, limit=CALIBRATION_PICTURES)
    )  # fmt: skip


class NotCachedError(Exception):
    """An engine on ``backend`` would have to be compiled first, and nobody may wait for that now."""

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        self.backend = backend


@dataclass(frozen=True, slots=True)
class Opened:
    """A compiled network with its key, and its entry where the cache could be written."""

    network: CompiledNetwork
    key: Key
    entry: Entry | None


class Compiler:
    """Opens networks on one backend in one precision; remembers which. Not safe for several threads."""

    def __init__(
        self,
        plugin: BackendPlugin,
        precision: Precision,
        options: Any,
        cache: EngineCache,
        *,
        calibration: Calibration | None = None,
        max_batch: int | None = None,
        force: bool = False,
        only_cached: bool = False,
        progress: Progress = lambda _: None,
    ) -> None:
        """``force`` compiles anew; ``only_cached`` never compiles."""
        self.backend = plugin.name
        self.precision = precision
        self.opened: list[Opened] = []
        self._plugin = plugin
        self._options = options
        self._cache = cache
        self._calibration = calibration
        self._max_batch = max_batch
        self._force = force
        self._only_cached = only_cached
        self._progress = progress

    def open(self, network: Network) -> CompiledNetwork:
        """Return a network, compiled and warm.

        Raises `BackendUnavailable`, `ManifestError`, `EngineError`, or `NotCachedError` for one that may not be
        compiled now.
        """
        network = self._wanted(network)
        key = self.key(network)
        entry = None if self._force else self._cache.find(key) or self._ahead(key)
        if entry is not None and (compiled := self._from_cache(network, entry)) is not None:
            self.opened.append(Opened(compiled, Key(key.model, entry.meta["key"]), entry))
            return compiled
        if self._only_cached:
            raise NotCachedError(self.backend)
        opened = self._built(network, key, stale=entry is not None)
        self.opened.append(opened)
        return opened.network

    @property
    def proven(self) -> bool:
        """Whether every network that is open was compared with the reference before."""
        return all(one.entry is not None and "parity" in one.entry.facts for one in self.opened)

    def compile(self, network: Network) -> Entry | None:
        """Compile a network for a device that is not here; None where the cache cannot be written."""
        network = self._wanted(network)
        key = self.key(network)
        with self._cache.building(key):
            entry = None if self._force else self._cache.find(key)
            if entry is not None and not _refused(entry):
                return entry
            return self._store(key, *self._artefact(network))

    def key(self, network: Network) -> Key:
        """Return what the engine of a network depends on. Raises `BackendUnavailable`."""
        identity = self._plugin.identity(self._options)
        profile = {"max_batch": str(network.max_batch)}
        return Key(network.model, {**self._source_parts(network), **profile, **identity})

    def note(self, **facts: Any) -> None:
        """Add facts to the entries of all networks that are open."""
        self.opened = [replace(one, entry=one.entry and self._cache.note(one.entry, **facts)) for one in self.opened]

    def refuse(self, why: str, parity: Mapping[str, Any]) -> None:
        """Remove the engines of all networks that are open; only that they were refused, and why, is remembered."""
        for one in self.opened:
            if one.entry is not None:
                self._cache.drop(one.entry)
            facts = {"refused": why, "refused_by": __version__, "parity": dict(parity)}
            self._cache.store(one.key, None, facts)

    def close(self) -> None:
        """Close every network that is open."""
        for one in self.opened:
            one.network.close()

    def require_device(self) -> None:
        """Raise `BackendUnavailable` if what is compiled could not run here."""
        require = getattr(self._plugin, "require_gpu", None)
        if require is not None:
            require(self._options)

    def _ahead(self, key: Key) -> Entry | None:
        """Return the entry of an engine that was compiled where there is no device, which any such device takes."""
        ahead: Mapping[str, str] = getattr(self._plugin, "ahead", {})
        return self._cache.find(Key(key.model, {**key.parts, **ahead})) if ahead else None

    def _wanted(self, network: Network) -> Network:
        """Return a network in the precision that it can have, for the batches that will come."""
        tensor = isinstance(network.input, TensorInput)
        # Nobody has pictures of what a second stage is given, so its ranges cannot be calibrated.
        precision: Precision = "fp32" if tensor and self.precision == "int8" else self.precision
        if network.quantised and precision != "int8":
            raise UsageError(
                f"this network's file is in int8 already: it cannot be had in {precision}",
                where=network.model,
                remedy="choose the precision auto or int8, or take the network from before it was quantised",
            )
        max_batch = network.max_batch if tensor or self._max_batch is None else self._max_batch
        return replace(network, precision=precision, max_batch=max_batch)

    def _source_parts(self, network: Network) -> dict[str, str]:
        spec = network.input
        plain = asdict(spec) if isinstance(spec, TensorInput) else spec.model_dump(mode="json")
        shown = json.dumps(plain, sort_keys=True)
        parts = {"onnx": sha256_of(network.path), "precision": network.precision, "input": shown}
        if network.precision == "int8" and not network.quantised:
            parts["calibration"] = self._calibration_set(network).name
        return parts

    def _calibration_set(self, network: Network) -> Calibration:
        if self._calibration is None:
            raise UsageError(
                "int8 needs pictures to calibrate with",
                where=network.model,
                remedy="name a folder of typical pictures: --calibration DIR, or `calibration` in a configuration",
            )
        return self._calibration

    def _from_cache(self, network: Network, entry: Entry) -> CompiledNetwork | None:
        """Return a cached engine, loaded; None for one that the backend does not take (any more)."""
        if (why := _refused(entry)) is not None:
            raise EngineError(
                f"the {self.backend} engine deviates from the reference: {why}",
                where=network.model,
                remedy="choose another backend or precision; `streamvision compile --force` tries again",
            )
        if entry.engine is None:
            return None
        try:
            return self._plugin(network, self._options, entry.engine)
        except StaleEngine as error:
            _log.warning("cached_engine_not_usable", model=network.model, backend=self.backend, error=str(error))
            self._cache.drop(entry)
            return None

    def _built(self, network: Network, key: Key, *, stale: bool) -> Opened:
        with self._cache.building(key):
            entry = None if self._force or stale else self._cache.find(key)
            if entry is None or entry.engine is None:  # nobody else has built it meanwhile
                artefact, seconds = self._artefact(network)
                entry = self._store(key, artefact, seconds)
                if entry is None or entry.engine is None:
                    with _in_memory(artefact) as path:
                        return Opened(self._plugin(network, self._options, path), key, None)
        return Opened(self._plugin(network, self._options, entry.engine), key, entry)

    def _artefact(self, network: Network) -> tuple[bytes, float]:
        _log.info("engine_build", model=network.model, backend=self.backend, precision=network.precision)
        started_s = time.perf_counter()
        with self._converted(network) as source:
            artefact = self._plugin.compile(source, self._options, self._progress)
        return artefact, time.perf_counter() - started_s

    def _store(self, key: Key, artefact: bytes, seconds: float) -> Entry | None:
        entry = self._cache.store(
            key, lambda file: _write(file, artefact), {"seconds": round(seconds, 3), "kind": "engine"}
        )
        _log.info("engine_built", model=key.model, backend=self.backend, seconds=round(seconds, 1), key=key.digest)
        return entry

    @contextlib.contextmanager
    def _converted(self, network: Network) -> Iterator[Network]:
        """Give the network with its file in the precision that is wanted; kept in the cache too."""
        if network.quantised or network.precision not in ("fp16", "int8"):
            yield network
            return
        key = Key(network.model, {**self._source_parts(network), "converted": __version__})
        entry = None if self._force else self._cache.find(key)
        if entry is not None and entry.engine is not None:
            yield replace(network, path=entry.engine)
            return
        with tempfile.TemporaryDirectory(prefix="streamvision-") as folder:
            path = self._convert(network, Path(folder) / "network.onnx")
            self._cache.store(key, partial(_copy, path), {"kind": "network"})
            yield replace(network, path=path)

    def _convert(self, network: Network, out: Path) -> Path:
        from streamvision.engine.precision import convert

        pictures = None
        if network.precision == "int8" and not isinstance(network.input, TensorInput):
            pictures = self._calibration_set(network).pictures(network.input.spec())
        converted: Path = convert(network.path, out, network.precision, input=network.input, calibration=pictures)
        return converted


def validated(plugin: Any, values: Mapping[str, Any], whose: str) -> Any:
    """Return a plug-in's options. Raises `UsageError` that names the first wrong one."""
    try:
        options: BaseModel = plugin.Options.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(f"option {key!r} of {whose}: {first['msg']}") from error
    return options


def _refused(entry: Entry) -> str | None:
    """Return why an engine was refused; another version of the program may judge otherwise."""
    facts = entry.facts
    return str(facts["refused"]) if facts.get("refused_by") == __version__ else None


@contextlib.contextmanager
def _in_memory(artefact: bytes) -> Iterator[Path]:
    """Give a path to bytes that lie on no disk."""
    handle = os.memfd_create("streamvision-engine")
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(artefact)
        yield Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def _copy(source: Path, file: Path) -> None:
    shutil.copyfile(source, file)

"""Manifest -> engine: find the file, choose a backend, compile or load, and prove that it sees what it should."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from streamvision import plugins
from streamvision.engine import choice, models, samples
from streamvision.engine.backends import BackendPlugin, CompiledNetwork, Network, Precision
from streamvision.engine.cache import EngineCache, Entry, Key
from streamvision.engine.compile import Calibration, Compiler, calibration_of, validated
from streamvision.engine.decoders import NetworkShape
from streamvision.engine.manifest import Manifest
from streamvision.engine.network import NetworkEngine
from streamvision.engine.proof import prove
from streamvision.errors import BackendUnavailable, EngineError, ManifestError, UsageError
from streamvision.interfaces import Decoder, Engine

AUTO: Final = "auto"
ON_CPU: Final = ("openvino", "onnxruntime")
REFERENCES: Final = ("onnxruntime", "openvino", "torch")
PRECISIONS: Final[Mapping[str, Precision]] = {
    AUTO: "fp32", "fp32": "fp32", "bf16": "bf16", "fp16": "fp16", "int8": "int8",
}  # fmt: skip
"""What ``precision`` may be. ``auto`` never trades accuracy for speed unasked."""
_TENSORRT: Final = ("tensorrt", "tensorrt_rtx")
_GPUS: Final = ("/dev/nvidiactl", "/dev/nvgpu", "/dev/nvhost-gpu", "/dev/dxg")

_log = structlog.get_logger(__name__)


def gpu_backends() -> tuple[str, ...]:
    """Return the backends for GPUs that are worth a try: TensorRT where its package and a device are there."""
    package = any(importlib.util.find_spec(name) is not None for name in _TENSORRT)
    return ("tensorrt",) if package and any(Path(device).exists() for device in _GPUS) else ()


def load_backend(name: str) -> BackendPlugin:
    """Return a backend's class. Raises `PluginError`."""
    plugin: BackendPlugin = plugins.load("backend", name)
    return plugin


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where engines are made: the cache, and the backends that there are.

    ``auto`` tries ``on_gpu`` one after the other, then the faster of ``on_cpu``. A new engine is compared with the
    first of ``references`` that is another backend and can be used. ``slow`` ones take long to compile.
    """

    cache: EngineCache = field(default_factory=EngineCache)
    load: Callable[[str], BackendPlugin] = load_backend
    on_gpu: tuple[str, ...] = field(default_factory=gpu_backends)
    on_cpu: tuple[str, ...] = ON_CPU
    references: tuple[str, ...] = REFERENCES
    slow: frozenset[str] = frozenset({"tensorrt"})


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of a model's engine.

    ``options`` are the backend's; ``decoder_options`` go over the manifest's own, for example ``{"min_score": 0.001}``
    for an evaluation; ``calibration`` are the pictures for int8; ``max_batch`` is the most that will be submitted at a
    time; ``force`` compiles anew what the cache has.
    """

    backend: str = AUTO
    precision: str = AUTO
    options: Mapping[str, Any] = field(default_factory=dict)
    decoder_options: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    max_batch: int = 16
    force: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"precision {self.precision!r} is not supported", remedy=f"choose from {', '.join(PRECISIONS)}"
            )

    @property
    def numbers(self) -> Precision:
        """The precision to compute in."""
        return PRECISIONS[self.precision]


@dataclass(frozen=True, slots=True)
class Step:
    """How far a build is: what is being done on which backend, and how much of it, 0 to 1."""

    state: Literal["loading", "building", "verifying"]
    backend: str
    done: float = 0.0


Report = Callable[[Step], None]


def build_engine(
    manifest: Manifest,
    *,
    backend: str = AUTO,
    precision: str = AUTO,
    backend_options: Mapping[str, Any] | None = None,
    decoder_options: Mapping[str, Any] | None = None,
    calibration: Path | None = None,
    max_batch: int = 16,
    workshop: Workshop | None = None,
) -> Engine:
    """Return an engine that is compiled, warm, and proven; see `Order` for the arguments.

    Raises `ModelMissing`, `ManifestError`, `BackendUnavailable`, `PluginError`, `EngineError` or `UsageError`.
    """
    pictures = calibration_of(calibration) if calibration else None
    order = Order(backend, precision, backend_options or {}, decoder_options or {}, pictures, max_batch)
    return Builder(manifest, order, workshop or Workshop()).build()


class Builder:
    """Makes the engine of one order."""

    def __init__(
        self,
        manifest: Manifest,
        order: Order,
        workshop: Workshop,
        report: Report = lambda _: None,
        *,
        patient: bool = True,
    ) -> None:
        """One that is not ``patient`` raises `NotCachedError` instead of a build that takes long."""
        self.backend = ""
        """What the last engine runs on."""
        self.compiler: Compiler | None = None
        """What opened its networks."""
        self.failures: list[tuple[str, Exception]] = []
        """The backends that could not be used, and why."""
        self._manifest = manifest
        self._order = for_file(order, manifest)
        self._workshop = workshop
        self._report = report
        self._patient = patient

    def build(self, without: Sequence[str] = ()) -> Engine:
        """Return the engine, on none of the backends in ``without``; raises as `build_engine` does."""
        order, workshop = self._order, self._workshop
        if self._manifest.kind == "motion":
            return _algorithm(self._manifest, order.backend)
        if order.backend != AUTO:
            return self.open(order.backend)
        on_gpu = [name for name in workshop.on_gpu if name not in without]
        on_cpu = [name for name in workshop.on_cpu if name not in without]
        self._check_options([*on_gpu, *on_cpu])
        for name in on_gpu:
            if (engine := self._try(name)) is not None:
                return engine
        return self._fastest(on_cpu)

    @property
    def fallback(self) -> str:
        """Why the engine is on another backend than the best one; empty if it is not."""
        better = [*self._workshop.on_gpu, *self._workshop.on_cpu]
        better = better[: better.index(self.backend)] if self.backend in better else []
        return "; ".join(f"{name}: {error}" for name, error in self.failures if name in better)

    def open(self, backend: str) -> Engine:
        """Return a proven engine on one backend."""
        self._report(Step("loading", backend))
        compiler = self.new_compiler(backend)
        compiler.require_device()
        try:
            engine = self.assembled(compiler.open, self._order.decoder_options)
        except BaseException:
            compiler.close()
            raise
        try:
            self._prove(engine, compiler)
        except BaseException:
            engine.close()
            raise
        self.backend, self.compiler = backend, compiler
        return engine

    def ahead(self, backend: str) -> list[Entry | None]:
        """Compile for a device that is not here; None for an engine that the cache could not take.

        Whether network and manifest agree is seen on a reference backend; how the engine computes is not.
        """
        compiler = self.new_compiler(backend)
        entries: list[Entry | None] = []

        def open_network(network: Network) -> CompiledNetwork:
            entries.append(compiler.compile(network))
            plugin = self._workshop.load(self._workshop.references[0])
            return plugin(network, plugin.Options())

        self.assembled(open_network, self._order.decoder_options).close()
        return entries

    def new_compiler(self, backend: str) -> Compiler:
        """Return what opens this order's networks on a backend."""
        order = self._order
        plugin = self._workshop.load(backend)
        fitted = order.numbers == "int8" and not self._manifest.quantised
        return Compiler(
            plugin, order.numbers, validated(plugin, self._options(backend, plugin), f"backend {backend!r}"),
            self._workshop.cache, calibration=order.calibration, max_batch=order.max_batch, force=order.force,
            only_cached=not self._patient and (backend in self._workshop.slow or fitted),
            progress=lambda done: self._report(Step("building", backend, done)),
        )  # fmt: skip

    def assembled(
        self, open_network: Callable[[Network], CompiledNetwork], decoder_options: Mapping[str, Any]
    ) -> Engine:
        """Return the manifest's engine over the networks that ``open_network`` gives."""
        manifest = self._manifest
        if manifest.kind == "two_stage":
            from streamvision.engine.two_stage import build_two_stage

            return build_two_stage(manifest, open_network, decoder_options)
        compiled = open_network(_network(manifest))
        return NetworkEngine(manifest, compiled, _decoder(manifest, compiled, decoder_options))

    def _try(self, backend: str) -> Engine | None:
        try:
            return self.open(backend)
        except (BackendUnavailable, EngineError) as error:
            self.failures.append((backend, error))
            _log.warning("backend_not_usable", model=self._manifest.name, backend=backend, error=str(error))
            return None

    def _fastest(self, names: Sequence[str]) -> Engine:
        """Return the engine on the backend that is fastest with this network on this machine."""
        key = self._race_key(names)
        remembered = self._workshop.cache.find(key)
        if remembered is not None and (best := remembered.facts["backend"]) in names:
            if (engine := self._try(best)) is not None:
                return engine
            names = [name for name in names if name != best]
        opened = self._all(names)
        if not opened:
            reasons = "; ".join(str(error) for _, error in self.failures)
            raise BackendUnavailable(f"no backend can run this model: {reasons}", where=self._manifest.name) from (
                self.failures[-1][1] if self.failures else None
            )
        self.backend = next(iter(opened)) if len(opened) == 1 else self._race(key, opened)
        engine, self.compiler = opened[self.backend]
        return engine

    def _all(self, names: Sequence[str]) -> dict[str, tuple[Engine, Compiler | None]]:
        """Return the engines on all backends that can be used."""
        opened: dict[str, tuple[Engine, Compiler | None]] = {}
        try:
            for name in names:
                if (engine := self._try(name)) is not None:
                    opened[name] = engine, self.compiler
        except BaseException:
            for engine, _ in opened.values():
                engine.close()
            raise
        return opened

    def _race(self, key: Key, opened: Mapping[str, tuple[Engine, Compiler | None]]) -> str:
        """Return the fastest of several engines, remember it, and close the others."""
        engines = {name: engine for name, (engine, _) in opened.items()}
        rates = choice.race(engines, samples.pictures(self._manifest.input.spec(), limit=choice.PICTURES))
        best = max(rates, key=rates.__getitem__)
        shown = {name: round(rate, 1) for name, rate in rates.items()}
        _log.info("backend_chosen", model=self._manifest.name, backend=best, pictures_per_second=shown)
        self._workshop.cache.store(key, None, {"kind": "choice", "backend": best, "pictures_per_second": shown})
        for name, engine in engines.items():
            if name != best:
                engine.close()
        return best

    def _race_key(self, names: Sequence[str]) -> Key:
        parts = {"race": self._manifest.model_dump_json(), "precision": self._order.numbers}
        for name in names:
            plugin = self._workshop.load(name)
            options = validated(plugin, self._options(name, plugin), f"backend {name!r}")
            try:
                identity = {f"{name} {part}": value for part, value in plugin.identity(options).items()}
            except BackendUnavailable:
                identity = {name: "missing"}
            parts |= {**identity, f"{name} options": options.model_dump_json()}
        return Key(self._manifest.name, parts)

    def _prove(self, engine: Engine, compiler: Compiler) -> None:
        """Compare a new engine with a reference, once per key. Raises `EngineError` for one that deviates."""
        if compiler.proven:
            return
        order = self._order
        if order.decoder_options:  # they would sway the judgement
            plain = replace(order, decoder_options={}, force=False)
            Builder(self._manifest, plain, self._workshop, self._report).open(compiler.backend).close()
            return
        self._report(Step("verifying", compiler.backend))
        others = [name for name in self._workshop.references if order.numbers != "fp32" or name != compiler.backend]
        judged = prove(
            engine, self._manifest, order.numbers,
            [(name, partial(self._reference, name)) for name in others], order.calibration,
        )  # fmt: skip
        if judged is None:
            _log.warning("engine_not_verified", model=self._manifest.name, backend=compiler.backend)
            return
        reference, parity = judged
        if not parity.ok:
            compiler.refuse(parity.summary(), parity.as_json())
            raise EngineError(
                f"the {compiler.backend} engine in {order.numbers} deviates from {reference}: {parity.summary()}",
                where=self._manifest.name,
                remedy="choose another backend or precision",
            )
        _log.info("engine_verified", model=self._manifest.name, backend=compiler.backend, parity=parity.summary())
        compiler.note(parity=parity.as_json(), parity_summary=parity.summary(), reference=reference)

    def _reference(self, name: str) -> Engine:
        """Return the engine on a reference backend, in float32 and compiled in memory."""
        plugin = self._workshop.load(name)
        return self.assembled(lambda network: plugin(network, plugin.Options()), {})

    def _options(self, backend: str, plugin: BackendPlugin) -> Mapping[str, Any]:
        """Return the options for a backend: those that it has, where several are tried."""
        if self._order.backend != AUTO:
            return self._order.options
        return {key: value for key, value in self._order.options.items() if key in plugin.Options.model_fields}

    def _check_options(self, names: Sequence[str]) -> None:
        known = {key for name in names for key in self._workshop.load(name).Options.model_fields}
        for key in self._order.options:
            if key not in known:
                raise UsageError(
                    f"option {key!r} of backend 'auto': none of {', '.join(names)} has it",
                    remedy=f"known: {', '.join(sorted(known))}",
                )


def for_file(order: Order, manifest: Manifest) -> Order:
    """Return an order as a model's file can meet it: one that has int8 layers already is not fitted to pictures."""
    if not manifest.quantised or order.precision not in (AUTO, "int8"):
        return order
    return replace(order, precision="int8", calibration=None)


def _network(manifest: Manifest) -> Network:
    return Network(manifest.name, models.require(manifest), manifest.input, quantised=manifest.quantised)


def _algorithm(manifest: Manifest, backend: str) -> Engine:
    if backend != AUTO:
        raise UsageError(f"{manifest.name} is an algorithm: there is nothing that {backend!r} could run")
    from streamvision.engine.motion import MotionEngine

    return MotionEngine(manifest)


def _decoder(manifest: Manifest, compiled: CompiledNetwork, options: Mapping[str, Any]) -> Decoder:
    if manifest.decoder is None:
        raise ManifestError("a network needs a decoder", where=manifest.name)
    plugin = plugins.load("decoder", manifest.decoder.type)
    whose = f"decoder {manifest.decoder.type!r}"
    chosen = validated(plugin, {**manifest.decoder.options, **options}, whose)
    shape = NetworkShape(
        manifest.name, manifest.input.size, len(manifest.labels), compiled.output_shapes, compiled.output_names,
        manifest.labels, manifest.segmentation,
    )  # fmt: skip
    decoder: Decoder = plugin(chosen, shape)
    return decoder

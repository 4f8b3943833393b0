"""A configuration file -> `Settings`, or every problem in it at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path as FilePath
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from streamvision import plugins
from streamvision.config.asides import asides_of, explain_of
from streamvision.config.choice import choice_of
from streamvision.config.claims import judge_files
from streamvision.config.document import MAX_BYTES, Document, Path, read_document
from streamvision.config.label_maps import Maps, lint_label_maps, map_readers
from streamvision.config.lint import bounded, lint_seconds, lint_stream, unique
from streamvision.config.secrets import Expander, written_secrets
from streamvision.config.server import judge_server
from streamvision.config.settings import (
    ModelSettings,
    Name,
    OutboxSettings,
    RuleSettings,
    ServerSettings,
    Settings,
    SinkSettings,
    StreamEntry,
    StreamSettings,
    Strict,
    TrackerSettings,
)
from streamvision.config.sources import absolute_url, known_schemes, scheme_of, source_kind
from streamvision.config.validate import nearest, validate
from streamvision.config.where import where_of
from streamvision.errors import ConfigError, PluginError, Problem, StreamvisionError
from streamvision.paths import can_be_path

LabelsOf = Callable[[str], Collection[str] | None]
MapsOf = Callable[[str], Maps | None]
LoadPlugin = Callable[[plugins.Kind, str], Any]

DEFAULT_TRACKER = "bytetrack"
N = TypeVar("N", RuleSettings, SinkSettings)
_SECTIONS = ("state_dir", "server", "models", "streams", "sinks", "outbox", "explain", "collect")


def load_settings(
    path: FilePath | str,
    *,
    env: Mapping[str, str] = os.environ,
    labels_of: LabelsOf | None = None,
    maps_of: MapsOf | None = None,
    load_plugin: LoadPlugin = plugins.load,
) -> Settings:
    """Read and validate a configuration file.

    ``labels_of`` tells a manifest's class names (None: unknown), so that rules' classes can be checked, ``maps_of``
    those of its label maps; they may raise a `StreamvisionError`. Raises `ConfigError` with every problem in file
    order.
    """
    document = _read(path)
    settings = None
    if document.data is not None:
        Expander(document, env).expand()
        settings = _Loader(document, FilePath(path).absolute().parent, env, labels_of, maps_of, load_plugin).settings()
    if settings is None:
        raise _refusal(document)
    return settings


def state_dir_of(path: FilePath | str, *, env: Mapping[str, str] = os.environ) -> FilePath:
    """Return a configuration's state_dir without needing the secrets that the rest of it names.

    Raises `ConfigError` for a file that cannot be read or parsed.
    """
    document = _read(path)
    data = document.data if isinstance(document.data, dict) else {}
    document.data = {"state_dir": data.get("state_dir")}
    Expander(document, env).expand()
    state_dir = resolve_state_dir(document, FilePath(path).absolute().parent, env)
    if document.problems:
        raise _refusal(document)
    return state_dir


def resolve_state_dir(document: Document, folder: FilePath, env: Mapping[str, str]) -> FilePath:
    """Return the absolute state_dir: the file's own, else systemd's $STATE_DIRECTORY, else ./var beside the file."""
    given = document.data.get("state_dir")
    if given is None:
        # systemd gives a list if several directories are asked for; the first is ours
        given = env.get("STATE_DIRECTORY", "").partition(":")[0] or "./var"
    if not isinstance(given, str) or not can_be_path(given):
        document.problem(("state_dir",), "expected the path of a folder", "for example: state_dir: ./var")
        return folder
    return FilePath(os.path.normpath(folder / FilePath(given).expanduser()))


def _read(path: FilePath | str) -> Document:
    try:
        with FilePath(path).open("rb") as stream:
            return read_document(str(path), stream.read(MAX_BYTES + 1))
    except OSError as error:
        problem = Problem(str(path), 0, 0, f"cannot be read: {error.strerror}", "give the path of a YAML file")
        raise ConfigError([problem]) from error


def _refusal(document: Document) -> ConfigError:
    return ConfigError(sorted(dict.fromkeys(document.problems), key=lambda problem: (problem.line, problem.column)))


class _Named(Strict):
    """What rules and sinks have in common."""

    name: Name
    type: str


class _Loader:
    """Builds `Settings` from an expanded document; mistakes go to the document, and building goes on."""

    def __init__(
        self,
        document: Document,
        folder: FilePath,
        env: Mapping[str, str],
        labels_of: LabelsOf | None,
        maps_of: MapsOf | None,
        load_plugin: LoadPlugin,
    ) -> None:
        self._document = document
        self._folder = folder
        self._env = env
        self._labels_of = labels_of
        self._maps_of = maps_of
        self._load_plugin = load_plugin

    def settings(self) -> Settings | None:
        data = self._document.data
        if not isinstance(data, dict):
            self._document.problem((), "expected keys with values", "a configuration begins with, say, streams:")
            return None
        for key in data.keys() - set(_SECTIONS):
            self._document.problem((key,), f"unknown key {key!r}", nearest(key, _SECTIONS), at_key=True)
        server = self._server(data.get("server"))
        models = self._models(data.get("models"))
        streams = self._streams(data, models)
        sinks = self._sinks(data.get("sinks"), [stream.id for stream in streams])
        outbox = validate(self._document, OutboxSettings, data.get("outbox") or {}, ("outbox",)) or OutboxSettings()
        explain, collect = asides_of(self._document, data)
        state_dir = resolve_state_dir(self._document, self._folder, self._env)
        if not self._document.problems:
            judge_files(self._document, sinks, state_dir, self._env.get("STREAMVISION_SHARD", ""))
        if self._document.problems:
            return None
        settings = Settings(
            state_dir=state_dir, server=server, models=models, streams=tuple(streams), sinks=tuple(sinks),
            outbox=outbox, explain=explain, collect=collect,
        )  # fmt: skip
        settings._secrets = frozenset(self._document.secrets) | frozenset(written_secrets(settings))
        return settings

    def _server(self, given: Any) -> ServerSettings:
        server = validate(self._document, ServerSettings, {} if given is None else given, ("server",))
        if server is None:
            return ServerSettings()
        if server.unguarded:
            self._document.problem(
                ("server", "listen"),
                f"{server.listen} can be reached from other machines, so it needs tokens",
                "set server.tokens: {admin: ${ADMIN_TOKEN}, read: ${READ_TOKEN}}, or listen on 127.0.0.1",
            )
        return judge_server(self._document, server, self._folder)

    def _models(self, given: Any) -> dict[str, ModelSettings]:
        entries = self._mapping(given, ("models",), "names with models") or {"default": {}}
        models = {}
        for name, entry in entries.items():
            path: Path = ("models", name)
            model = validate(self._document, ModelSettings, {} if entry is None else entry, path)
            if model is None:
                models[name] = self._broken_model(entry)
                continue
            if model.backend not in (known := ["auto", *plugins.names("backend")]):
                self._document.problem(
                    (*path, "backend"), f"there is no backend {model.backend!r}", nearest(model.backend, known)
                )
            else:
                self._backend_options(model, path)
            calibration = model.calibration and os.path.normpath(
                self._folder / FilePath(model.calibration).expanduser()
            )
            models[name] = model.model_copy(
                update={"manifest": self._manifest(model.manifest), "calibration": calibration}
            )
        return models

    def _backend_options(self, model: ModelSettings, path: Path) -> None:
        """Check a model's options against those of its backend, or of all backends where it is chosen later."""
        if not model.options:
            return
        if model.backend != "auto":
            what = f" for the backend {model.backend}"
            self._options("backend", model.backend, dict(model.options), (*path, "options"), set(), what)
            return
        fields: set[str] = set()
        for name in plugins.names("backend"):
            with contextlib.suppress(PluginError):  # one that cannot be used here is not chosen either
                fields |= set(self._load_plugin("backend", name).Options.model_fields)
        for key in model.options.keys() - fields:
            self._document.problem(
                (*path, "options", key), f"no backend has an option {key!r}", nearest(key, fields), at_key=True
            )

    def _manifest(self, name: str) -> str:
        is_path = "/" in name or name.endswith((".yaml", ".yml"))
        return os.path.normpath(self._folder / FilePath(name).expanduser()) if is_path else name

    def _streams(self, data: dict[str, Any], models: Mapping[str, ModelSettings]) -> list[StreamSettings]:
        if not data.get("streams"):
            remedy = "streams: [{id: gate, url: rtsp://...}]"
            self._document.problem(("streams",), "there are no streams to watch", remedy)
        labels = {name: self._labels(name, model) for name, model in models.items()}
        streams = []
        for index, entry in enumerate(bounded(self._document, self._list(data.get("streams"), ("streams",)))):
            stream = self._stream(entry, ("streams", index), models, labels)
            if stream is not None:
                streams.append(stream)
        unique(self._document, data.get("streams"), ("streams",), "id", "stream id")
        return streams

    def _broken_model(self, entry: Any) -> ModelSettings:
        """Return what is right of a model whose entry is not, so that classes are still judged by its manifest."""
        manifest = entry.get("manifest") if isinstance(entry, dict) else None
        if not isinstance(manifest, str) or not manifest or "\0" in manifest:
            return ModelSettings()
        try:
            return ModelSettings(manifest=self._manifest(manifest))
        except ValidationError:  # a text that is no Unicode
            return ModelSettings()

    def _labels(self, name: str, model: ModelSettings) -> Collection[str] | None:
        try:
            return self._labels_of(model.manifest) if self._labels_of else None
        except StreamvisionError as error:
            self._document.problem(("models", name, "manifest"), error.what, error.remedy or "")
            return None

    def _maps(self, model: ModelSettings | None) -> Maps | None:
        try:
            return self._maps_of(model.manifest) if self._maps_of and model else None
        except StreamvisionError:
            return None  # told where its labels were asked for

    def _stream(
        self,
        entry: Any,
        path: Path,
        models: Mapping[str, ModelSettings],
        labels: Mapping[str, Collection[str] | None],
    ) -> StreamSettings | None:
        if not isinstance(entry, dict):
            self._document.problem(path, "expected a stream with id and url", "- {id: gate, url: rtsp://...}")
            return None
        own = {*StreamEntry.model_fields, "rules", "tracker"}
        common = {key: value for key, value in entry.items() if key in StreamEntry.model_fields}
        stream = validate(self._document, StreamEntry, common, path)
        given = entry.get("url")
        url = absolute_url(given, self._folder) if isinstance(given, str) and given and "\0" not in given else ""
        kind = self._kind(url, path) if url else ""
        rest = {key: value for key, value in entry.items() if key not in own}
        source = self._source(kind, url, rest, path, own) if kind else None
        tracker = self._tracker(entry.get("tracker"), (*path, "tracker"))
        rules = self._rules(entry.get("rules"), (*path, "rules"))
        model = self._model_of(entry.get("model"), path, models)
        readers = map_readers(entry, lambda kind: self._load_plugin("rule", kind))
        lint_stream(self._document, entry, path, labels.get(model), readers)
        lint_label_maps(self._document, entry, path, self._maps(models.get(model)), readers)
        lint_seconds(self._document, entry, path, model, labels)
        if stream is None or source is None or tracker is None:
            return None
        fixed = {**dict(stream), "url": url, "model": model}
        return StreamSettings(**fixed, kind=kind, source=source, tracker=tracker, rules=tuple(rules))

    def _kind(self, url: str, path: Path) -> str:
        scheme = scheme_of(url)
        if not scheme or scheme in known_schemes():
            return source_kind(url)
        where = (*path, "url")
        self._document.problem(where, f"there is no source for {scheme}: URLs", nearest(scheme, known_schemes()))
        return ""

    def _source(self, kind: str, url: str, given: dict[str, Any], path: Path, own: set[str]) -> BaseModel | None:
        options = self._options("source", kind, given, path, own, f" for a {kind} source")
        check_url = getattr(self._load_plugin("source", kind), "check_url", None) if options is not None else None
        if check_url is not None and (*path, "url") not in self._document.broken:
            try:
                check_url(url, options)
            except StreamvisionError as error:
                self._document.problem((*path, "url"), error.what, error.remedy or "")
        return options

    def _model_of(self, given: Any, path: Path, models: Mapping[str, ModelSettings]) -> str:
        if given is None or given == "":
            if len(models) > 1:
                remedy = f"add model: one of {', '.join(sorted(models))}"
                self._document.problem(path, "the stream names no model and there are several", remedy)
            return next(iter(models))
        if isinstance(given, str) and given not in models:
            remedy = nearest(given, models, noun="models")
            self._document.problem((*path, "model"), f"there is no model {given!r}", remedy)
        return str(given)

    def _tracker(self, given: Any, path: Path) -> TrackerSettings | None:
        entry = {"type": given} if isinstance(given, str) else {} if given is None else given
        if not isinstance(entry, dict):
            self._document.problem(path, "expected a tracker", f"tracker: {{type: {DEFAULT_TRACKER}}}")
            return None
        kind = str(entry.get("type", DEFAULT_TRACKER))
        rest = {key: value for key, value in entry.items() if key != "type"}
        options = self._options("tracker", kind, rest, path, {"type"}, "")
        return None if options is None else TrackerSettings(type=kind, options=options)

    def _rules(self, given: Any, path: Path) -> list[RuleSettings]:
        rules = []
        for index, entry in enumerate(self._list(given, path)):
            where = where_of(self._document, entry, (*path, index))
            explain, rest = explain_of(self._document, entry, (*path, index))
            rule = self._named(RuleSettings, "rule", rest, (*path, index))
            if rule is not None:
                rules.append(rule.model_copy(update={"where": where, "explain": explain}))
                self._about_tracks(rule.type, where, (*path, index, "where"))
        unique(self._document, given, path, "name", "rule name")
        return rules

    def _about_tracks(self, rule: str, where: Mapping[str, tuple[str, ...]], path: Path) -> None:
        if where and getattr(self._load_plugin("rule", rule), "reads_label_maps", False):
            self._document.problem(path, f"{rule} is not about tracks, and only they have attributes", "leave it out")

    def _sinks(self, given: Any, streams: Collection[str]) -> list[SinkSettings]:
        sinks = []
        for index, entry in enumerate(self._list(given, ("sinks",))):
            choice, rest = choice_of(self._document, entry, ("sinks", index), streams)
            sink = self._named(SinkSettings, "sink", rest, ("sinks", index))
            if sink is not None:
                sinks.append(sink.model_copy(update=choice))
        unique(self._document, given, ("sinks",), "name", "sink name")
        return sinks

    def _named(self, model: type[N], kind: Literal["rule", "sink"], entry: Any, path: Path) -> N | None:
        """Build a rule or sink: name, type, and everything else for the plug-in."""
        if not isinstance(entry, dict):
            self._document.problem(path, f"expected a {kind} with name and type", "- {name: ..., type: ...}")
            return None
        head = {key: entry[key] for key in ("name", "type") if key in entry}
        named = validate(self._document, _Named, head, path)
        if not isinstance(entry.get("type"), str):
            return None
        rest = {key: value for key, value in entry.items() if key not in head}
        options = self._options(
            kind, entry["type"], rest, path, set(_Named.model_fields), f" for a {entry['type']} {kind}"
        )
        return None if named is None or options is None else model(name=named.name, type=named.type, options=options)

    def _options(
        self, kind: plugins.Kind, name: str, given: dict[str, Any], path: Path, also: set[str], what: str
    ) -> BaseModel | None:
        try:
            plugin = self._load_plugin(kind, name)
            plugins.demand(kind, name, plugin)
            options: type[BaseModel] = plugin.Options
        except PluginError as error:
            at = (*path, "type") if kind != "source" else (*path, "url")
            self._document.problem(at, error.what, error.remedy or "")
            return None
        return validate(self._document, options, given, path, also=also, what=what)

    def _list(self, given: Any, path: Path) -> list[Any]:
        if isinstance(given, list):
            return given
        if given is not None and path not in self._document.broken:
            self._document.problem(path, "expected a list", "begin each item with a dash: - {...}")
        return []

    def _mapping(self, given: Any, path: Path, what: str) -> dict[str, Any]:
        if isinstance(given, dict):
            return given
        if given is not None and path not in self._document.broken:
            self._document.problem(path, f"expected {what}", "for example: street: {manifest: default}")
        return {}

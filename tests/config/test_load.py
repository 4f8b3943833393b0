from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision.config import Settings, load_settings, state_dir_of
from streamvision.errors import ConfigError, ManifestError
from tests.config.plugin_fakes import LineOptions, RtspOptions, ZoneOptions, load

SECRETS = {"CAM_USER": "operator", "CAM_PASSWORD": "p@ss/w?rd"}

WHOLE = """\
state_dir: ./var
server: {listen: 127.0.0.1:8080}
models:
  street: {manifest: default, backend: auto, precision: auto, max_batch: 16, max_wait: 20ms, max_age: 500ms}
streams:
  - id: gate
    url: rtsp://${CAM_USER}:${CAM_PASSWORD}@192.0.2.11/stream1
    transport: tcp
    fps: 10
    model: street
    min_score: 0.4
    motion_gate: off
    privacy_masks: {window: [[0, 0], [0.2, 0], [0.2, 0.3]]}
    zones: {yard: [[0.1, 0.4], [0.9, 0.4], [0.9, 1], [0.1, 1]]}
    lines: {fence: [[0.2, 0.5], [0.8, 0.5]]}
    rules:
      - {name: intruder, type: zone, zone: yard, classes: [person], min_dwell: 2s}
      - {name: fence, type: line, line: fence, classes: [person, car], direction: both}
sinks:
  - {name: log, type: jsonl, path: events.jsonl}
"""

TEN_MISTAKES = """\
serer: {listen: 127.0.0.1:8080}
server: {listen: "0.0.0.0:8080"}
models:
  street: {manifest: default, max_batch: many, max_wait: 20mz}
streams:
  - id: gate
    url: rtsp://${CAM_USER}:${CAM_PASSWORD}@192.0.2.11/stream1
    transprt: tcp
    fps: fast
    model: stret
    zones: {yard: [[0.1, 0.4], [0.9, 0.4], [0.9, 1], [0.1, 1]]}
    rules:
      - {name: intruder, type: zone, zone: yrd, min_dwell: 2s}
      - {name: intruder, type: zoen, zone: yard}
sinks:
  - {name: log, type: jsonl}
"""

TEN_VERDICTS = [
    (1, 1, "unknown key 'serer'; did you mean 'server'?"),
    (2, 18, "0.0.0.0:8080 can be reached from other machines, so it needs tokens"),
    (4, 42, "max_batch: expected a whole number, not 'many'"),
    (4, 58, "max_wait: '20mz' is not a span of time; write it like 500ms, 2s, 5m, 1h or 30d"),
    (7, 10, "${CAM_PASSWORD} is not set; set the environment variable or systemd credential CAM_PASSWORD"),
    (8, 5, "unknown key 'transprt' for a rtsp source; did you mean 'transport'?"),
    (9, 10, "fps: expected a number, not 'fast'"),
    (10, 12, "there is no model 'stret'; did you mean 'street'?"),
    (13, 44, "there is no zone 'yrd'; did you mean 'yard'?"),
    (14, 16, "rule name 'intruder' is used twice"),
    (14, 32, "there is no rule called 'zoen'; did you mean 'zone'?"),
    (16, 5, "'path' is missing"),
]


def load_text(folder: Path, text: str, **given) -> Settings:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    given.setdefault("env", SECRETS)
    return load_settings(path, load_plugin=load, **given)


def problems(folder: Path, text: str, **given) -> list[tuple[int, int, str]]:
    with pytest.raises(ConfigError) as caught:
        load_text(folder, text, **given)
    return [(p.line, p.column, f"{p.message}; {p.remedy}" if p.remedy else p.message) for p in caught.value.problems]


def stream(extra: str = "", url: str = "/videos/a.mp4") -> str:
    return f"streams:\n  - id: a\n    url: {url}\n{extra}"


def test_a_whole_configuration(tmp_path):
    found = load_text(tmp_path, WHOLE)

    assert found.state_dir == tmp_path / "var"
    assert (found.server.host, found.server.port, found.server.loopback) == ("127.0.0.1", 8080, True)
    assert found.models["street"].max_wait == pytest.approx(0.02)
    gate = found.stream("gate")
    assert (gate.kind, gate.model, gate.fps, gate.min_score) == ("rtsp", "street", 10.0, 0.4)
    assert gate.motion_gate == "off"
    assert gate.source == RtspOptions(transport="tcp")
    assert gate.tracker.type == "bytetrack"
    assert gate.zones["yard"][2] == (0.9, 1.0)
    assert [rule.name for rule in gate.rules] == ["intruder", "fence"]
    assert gate.rules[0].options == ZoneOptions(zone="yard", classes=("person",), min_dwell=2.0)
    assert gate.rules[1].options == LineOptions(line="fence", classes=("person", "car"))
    assert found == load_text(tmp_path, WHOLE)


def test_every_mistake_is_told_with_its_place(tmp_path):
    found = problems(tmp_path, TEN_MISTAKES, env={"CAM_USER": "operator"})

    assert [(line, column) for line, column, _ in found] == [(line, column) for line, column, _ in TEN_VERDICTS]
    for (_, _, said), (_, _, expected) in zip(found, TEN_VERDICTS, strict=True):
        assert said.startswith(expected)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("demo:strt", "there is no scene called 'strt'; write demo:street"),
        ("'demo:street?size=0x0'", "size: both sides must be even"),
        ("demo:street?spped=2", "spped: unknown key; known: seed, size, fps, start"),
        ("rtsp:///stream1", "the URL names no host"),
        ("rtsp://cam:abc/stream1", "the host or the port in the URL is malformed"),
        ("http://op:sec/ret@cam/stream1", "the host or the port in the URL is malformed"),
    ],
)
def test_a_url_that_can_never_be_opened_is_a_mistake_in_the_file(tmp_path, url, message):
    path = tmp_path / "config.yaml"
    path.write_text(stream(url=url), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert [(one.line, one.column) for one in caught.value.problems] == [(3, 10)]
    assert message in str(caught.value)
    assert "ret@cam" not in str(caught.value)


def test_a_problem_reads_as_file_line_column(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, "streems: []")

    assert str(caught.value).splitlines()[0] == f"{tmp_path / 'config.yaml'}:1:1: " + (
        "unknown key 'streems'; did you mean 'streams'?"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "the file is empty"),
        ("- a\n", 1, 1, "expected keys with values"),
        ("server: {}\n", 1, 1, "there are no streams to watch"),
        ("streams: gate\n", 1, 10, "expected a list"),
        ("streams: [5]\n", 1, 11, "expected a stream with id and url"),
        ("streams: [{id: a}]\n", 1, 11, "'url' is missing; it is required here"),
        (stream("  - {id: a, url: b.mp4}\n"), 4, 10, "stream id 'a' is used twice; the first is in line 2"),
        (stream("    id: b\n"), 4, 5, "'id' is given twice; the first is in line 2"),
        (stream("    fps: !!python/object:os.system x\n"), 4, 10, "the YAML tag '!!python/object:os.system' is not"),
        (stream("    motion_gate: of\n"), 4, 18, "motion_gate: 'of' is not one of the choices; did you mean 'off'?"),
        (stream("    min_score: 1.5\n"), 4, 16, "min_score: expected less than or equal to 1, not 1.5"),
        (stream("    fps: .nan\n"), 4, 10, "fps: expected"),
        (stream("    zones: {a b: [[0, 0], [1, 0], [1, 1]]}\n"), 4, 13, "zones"),
        (stream("    zones: {a: [[0, 0], [1, 0]]}\n"), 4, 16, "zones.a: "),
        (stream("    zones: {a: [[0, 0], [1, 1], [1, 0], [0, 1]]}\n"), 4, 16, "zone 'a': the outline crosses itself"),
        (stream("    zones: {a: [[0, 0], [640, 0], [640, 480]]}\n"), 4, 16, "zone 'a': point 2 (640, 0) lies outside"),
        (stream("    lines: {a: [[0.5, 0.5], [0.5, 0.5]]}\n"), 4, 16, "line 'a': the line has no length"),
        (stream("    lines: {a: [[0.5, 0.5], [0.5]]}\n"), 4, 29, "lines.a[1]"),
        (
            stream("    rules: [{name: a, type: line, line: b}]\n"),
            4,
            41,
            "there is no line 'b'; lines of this stream: none",
        ),
        (stream("    rules: [{type: zone, zone: b}]\n"), 4, 13, "'name' is missing"),
        (stream("    rules: [{name: a}]\n"), 4, 13, "'type' is missing"),
        (
            stream("    rules: [{name: a, type: zone, zne: b}]\n"),
            4,
            35,
            "unknown key 'zne' for a zone rule; did you mean 'zone'?",
        ),
        (
            stream("    tracker: {type: bytetrak}\n"),
            4,
            21,
            "there is no tracker called 'bytetrak'; did you mean 'bytetrack'?",
        ),
        (stream("    tracker: {hgh_score: 1}\n"), 4, 15, "unknown key 'hgh_score'; did you mean 'high_score'?"),
        (stream("    transport: tcp\n"), 4, 5, "unknown key 'transport' for a file source"),
        (stream(url="rstp://10.0.0.1/x"), 3, 10, "there is no source for rstp: URLs; did you mean 'rtsp'?"),
        (stream("sinks: [{name: a, type: jsnl}]\n"), 4, 25, "there is no sink called 'jsnl'; did you mean 'jsonl'?"),
        (stream("sinks: [{name: a, type: stdout}, {name: a, type: stdout}]\n"), 4, 41, "sink name 'a' is used twice"),
        (stream("server: {listen: '8080'}\n"), 4, 18, "listen: expected HOST:PORT"),
        (stream("server: {tokens: {admn: x}}\n"), 4, 19, "unknown key 'admn'; did you mean 'admin'?"),
        (stream("models: {a: {backend: openvin}}\n"), 4, 23, "there is no backend 'openvin'; did you mean 'openvino'?"),
        (
            stream("models: {a: {backend: openvino, options: {wrkers: 2}}}\n"),
            4,
            43,
            "unknown key 'wrkers' for the backend openvino",
        ),
        (stream("models: {a: {backend: openvino, options: {workers: 0}}}\n"), 4, 52, "workers: "),
        (stream("models: {a: {options: {wrkers: 2}}}\n"), 4, 24, "no backend has an option 'wrkers'; did you mean 'wo"),
        (stream("models: {a: {}, b: {}}\n"), 2, 5, "the stream names no model and there are several"),
        (stream("state_dir: 5\n"), 4, 12, "expected the path of a folder"),
        (stream("    id: *nothing\n"), 4, 9, "YAML: found undefined alias"),
        ("a: [1\nb: 2\n", 2, 2, "YAML: expected ',' or ']'"),
        ("\tstreams: []\n", 1, 1, "YAML: found character '\\t' that cannot start any token"),
        ("a: 1\n---\nb: 2\n", 2, 1, "YAML: a second document starts here"),
        ("? [a]\n: b\n", 1, 3, "a key must be a plain text"),
        ("a: \x01\n", 1, 1, "character"),
    ],
)
def test_mistakes(tmp_path, text, line, column, message):
    found = problems(tmp_path, text)
    assert (line, column) in [(one[0], one[1]) for one in found], found
    assert any(one[:2] == (line, column) and one[2].startswith(message) for one in found), found


def test_classes_are_checked_against_the_models_labels(tmp_path):
    found = problems(tmp_path, WHOLE, labels_of=lambda manifest: {"person", "truck", "cat"})
    assert found == [(18, 66, "the model knows no class 'car'; did you mean 'cat'?")]


def test_a_wrong_manifest_is_told_where_it_is_named(tmp_path):
    def labels_of(manifest: str) -> None:
        raise ManifestError(f"there is no model called {manifest!r}", remedy="known: motion")

    assert problems(tmp_path, WHOLE, labels_of=labels_of) == [
        (4, 22, "there is no model called 'default'; known: motion")
    ]


def test_on_off_yes_and_dates_are_texts_and_numbers_are_numbers(tmp_path):
    found = load_text(tmp_path, "%YAML 1.1\n---\n" + stream("    motion_gate: on\n    fps: 012\n"))
    assert (found.streams[0].motion_gate, found.streams[0].fps) == ("on", 12.0)


def test_without_models_there_is_the_default_one(tmp_path):
    found = load_text(tmp_path, stream())
    assert list(found.models) == ["default"]
    assert (found.streams[0].model, found.models["default"].manifest) == ("default", "default")


def test_a_single_model_is_the_model_of_every_stream(tmp_path):
    found = load_text(tmp_path, stream("models: {only: {manifest: ./nets/own.yaml}}\n"))
    assert found.streams[0].model == "only"
    assert found.models["only"].manifest == str(tmp_path / "nets/own.yaml")


def test_what_a_backend_is_told_and_where_calibration_pictures_lie(tmp_path):
    text = "models: {only: {precision: int8, calibration: ./pictures, options: {workers: 2}}}\n"
    model = load_text(tmp_path, stream(text)).models["only"]
    assert model.calibration == str(tmp_path / "pictures")
    assert model.options == {"workers": 2}


@pytest.mark.parametrize(
    ("env", "text", "expected"),
    [
        ({}, "", "var"),
        ({"STATE_DIRECTORY": "/var/lib/streamvision"}, "", "/var/lib/streamvision"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "", "/var/lib/a"),
        ({"STATE_DIRECTORY": "/var/lib/a"}, "state_dir: ../x\n", "../x"),
        ({"ROOT": "/srv"}, "state_dir: ${ROOT}/x\n", "/srv/x"),
    ],
)
def test_state_dir(tmp_path, env, text, expected):
    expected = (tmp_path / expected).resolve()
    assert load_text(tmp_path, stream(text), env=env).state_dir == expected
    assert state_dir_of(tmp_path / "config.yaml", env=env) == expected


def test_state_dir_needs_no_secrets(tmp_path):
    (tmp_path / "c.yaml").write_text(WHOLE)
    assert state_dir_of(tmp_path / "c.yaml", env={}) == tmp_path / "var"


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "'[::]:80'", "192.0.2.1:80", "example.org:80"])
def test_other_machines_need_tokens(tmp_path, listen):
    assert "so it needs tokens" in problems(tmp_path, stream(f"server: {{listen: {listen}}}\n"))[0][2]
    tokens = {"ADMIN": "an admin's long token", "READ": "a reader's long token"}
    named = "tokens: {admin: ${ADMIN}, read: ${READ}}"
    found = load_text(tmp_path, stream(f"server: {{listen: {listen}, {named}}}\n"), env={**SECRETS, **tokens})
    assert found.server.tokens.read is not None
    assert found.server.tokens.read.get_secret_value() == tokens["READ"]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:80", "'[::1]:80'", "127.8.8.8:80"])
def test_this_machine_needs_none(tmp_path, listen):
    assert load_text(tmp_path, stream(f"server: {{listen: {listen}}}\n")).server.loopback


def test_a_missing_file_is_a_problem_of_the_file(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read: No such file"):
        load_settings(tmp_path / "nothing.yaml")


def test_bombs_are_refused(tmp_path):
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "repeats itself through aliases" in problems(tmp_path, "\n".join(levels))[0][2]
    assert "repeats itself" in problems(tmp_path, "a: &a\n  b: *a\n")[0][2]
    assert "too deeply" in problems(tmp_path, "[" * 30_000)[0][2]
    assert "larger than 1 MiB" in problems(tmp_path, "#" * (1 << 20) + "\nstreams: []\n")[0][2]


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=":2:1: the file is not UTF-8 text"):
        load_settings(path)


@pytest.mark.parametrize("file", ["CAM_PASSWORD", "streamvision_CAM_PASSWORD"])
def test_secrets_come_from_the_environment_or_credentials(tmp_path, file):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / file).write_text("from a file\n")
    env = {"CAM_USER": "u", "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    assert load_text(tmp_path, WHOLE, env=env).streams[0].url == "rtsp://u:from%20a%20file@192.0.2.11/stream1"


def test_a_password_is_quoted_inside_a_url_and_left_alone_elsewhere(tmp_path):
    assert load_text(tmp_path, WHOLE).streams[0].url == "rtsp://operator:p%40ss%2Fw%3Frd@192.0.2.11/stream1"
    text = stream("sinks: [{name: a, type: jsonl, path: 'x$${CAM_USER}-${CAM_PASSWORD}'}]\n")
    assert load_text(tmp_path, text).sinks[0].options.path == "x${CAM_USER}-p@ss/w?rd"


@pytest.mark.parametrize("text", ["${}", "${CAM USER}", "${CAM_USER", "${../../etc/passwd}"])
def test_broken_placeholders(tmp_path, text):
    assert "is not a placeholder" in problems(tmp_path, stream(url=f"'rtsp://{text}@x/'"))[0][2]


def test_secrets_are_never_shown(tmp_path):
    found = load_text(tmp_path, WHOLE)
    for shown in (repr(found), str(found), repr(found.streams), repr(found.stream("gate")), found.streams[0].shown_url):
        assert "p@ss" not in shown
        assert "p%40ss" not in shown
        assert "operator" not in shown
    assert "192.0.2.11" in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        stream("    fps: ${CAM_PASSWORD}\n"),
        stream("    ${CAM_PASSWORD}: 5\n    fps: x\n"),
        stream("    motion_gate: ${CAM_PASSWORD}\n"),
        stream("    rules: [{name: a, type: zone, zone: b, min_dwell: '${CAM_PASSWORD}'}]\n"),
        stream("server: {listen: '${CAM_PASSWORD}'}\n"),
        stream("server: {tokens: {admin: [p@ss/w?rd]}}\n"),
        stream(url="rstp://${CAM_USER}:${CAM_PASSWORD}@x/"),
    ],
)
def test_errors_do_not_tell_secrets(tmp_path, text):
    said = "\n".join(message for _, _, message in problems(tmp_path, text))
    assert not re.search(r"p@ss|p%40ss|w\?rd", said), said


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("rtsp://x/", "rtsp"),
        ("RTSPS://x/", "rtsp"),
        ("https://x/a.m3u8", "http"),
        ("/dev/video3", "v4l2"),
        ("v4l2:/dev/video0", "v4l2"),
        ("demo:street", "demo"),
        ("pictures", "images"),
        ("pictures/*.jpg", "images"),
        ("images:later", "images"),
        ("a.mp4", "file"),
        ("file:a.mp4", "file"),
        ("file:///videos/a%20b.mp4", "file"),
    ],
)
def test_the_url_says_the_kind_of_source(tmp_path, url, kind):
    (tmp_path / "pictures").mkdir()
    found = load_text(tmp_path, stream(url=f"'{url}'")).streams[0]
    assert found.kind == kind


@pytest.mark.parametrize(
    ("url", "absolute"),
    [("a.mp4", "{}/a.mp4"), ("../a.mp4", "{}/../a.mp4"), ("file:a.mp4", "file:{}/a.mp4"), ("/b/a.mp4", "/b/a.mp4")],
)
def test_relative_paths_start_at_the_file(tmp_path, url, absolute):
    found = load_text(tmp_path, stream(url=url)).streams[0].url
    expected = absolute.format(tmp_path).replace(f"{tmp_path}/..", str(tmp_path.parent))
    assert found == expected


KEYS = st.sampled_from(
    ["streams", "models", "server", "sinks", "state_dir", "id", "url", "fps", "rules", "zones", "lines", "tracker",
     "type", "name", "zone", "classes", "listen", "tokens", "x", "<<"]
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["rtsp://u:p@h/x", "zone", "jsonl", "${CAM_USER}", "${", "2s", "a.mp4", "demo:street"]),
)  # fmt: skip
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)


def _fuzz(folder: Path, raw: bytes) -> None:
    path = folder / "fuzz.yaml"
    path.write_bytes(raw)
    try:
        load_settings(path, env=SECRETS, load_plugin=load, labels_of=lambda manifest: {"person"})
    except ConfigError as error:
        told = error.problems
    else:
        return
    assert told
    assert all(problem.line >= 1 and problem.column >= 1 for problem in told)


@settings(max_examples=150, deadline=None)
@given(tree=st.dictionaries(KEYS, TREES, max_size=5))
def test_any_tree_gives_settings_or_problems(tmp_path_factory, tree):
    import io

    from ruamel.yaml import YAML

    out = io.StringIO()
    YAML(typ="safe", pure=True).dump(tree, out)
    _fuzz(tmp_path_factory.getbasetemp(), out.getvalue().encode("utf-8", "surrogatepass"))


@settings(max_examples=150, deadline=None)
@given(raw=st.one_of(st.binary(max_size=60), st.text("{}[]:-&*!|>'\"%@`, \n\tab0$?#", max_size=60).map(str.encode)))
def test_any_bytes_give_settings_or_problems(tmp_path_factory, raw):
    _fuzz(tmp_path_factory.getbasetemp(), raw)


@settings(max_examples=60, deadline=None)
@given(
    place=st.integers(0, len(WHOLE) - 1), size=st.integers(1, 12), put=st.sampled_from(["", "x", ":", "[", "\n", "&a "])
)
def test_a_damaged_file_gives_settings_or_problems(tmp_path_factory, place, size, put):
    _fuzz(tmp_path_factory.getbasetemp(), (WHOLE[:place] + put + WHOLE[place + size :]).encode())

from pathlib import Path

import pytest

from streamvision.engine import manifest
from streamvision.errors import ManifestError
from streamvision.resources import shipped
from streamvision.types import Colour, Fit, InputSpec
from tests.engine.networks import write_manifest


@pytest.mark.parametrize("name", sorted(path.stem for path in shipped("engines").glob("*.yaml")))
def test_every_shipped_manifest_is_valid_and_named_like_its_file(name: str) -> None:
    loaded = manifest.load(name)
    assert loaded.name == name
    assert loaded.path == manifest.locate(name)


def test_yolox_nano_says_what_its_network_wants() -> None:
    loaded = manifest.load("yolox-nano")
    assert loaded.input.spec() == InputSpec((416, 416), Fit.LETTERBOX_TOP_LEFT, Colour.BGR, 114)
    assert (len(loaded.labels), loaded.labels[0], loaded.labels[-1]) == (80, "person", "toothbrush")
    assert len(set(loaded.labels)) == 80


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("yolox-nana", "did you mean 'yolox-nano'"),
        ("quite-another", "known: "),
        ("./nothing.yaml", "no such manifest file"),
        ("nothing.yml", "no such manifest file"),
    ],
)
def test_an_unknown_name_is_answered_with_help(name: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        manifest.load(name)


def test_a_manifest_is_also_named_by_its_path(tmp_path: Path) -> None:
    path = write_manifest(tmp_path)
    assert manifest.load(path) == manifest.load(str(path))


def test_every_problem_is_reported_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: Bad Name\n"
        "summary: x\n"
        "licence: x\n"
        "source: x\n"
        "colour: rgb\n"
        "input:\n"
        "  size: [64, 0]\n"
        "  fit: crop\n"
        "labels: [a]\n"
        "decoder: {type: yolo}\n"
        "file: {name: ../x.onnx, sha256: 12}\n"
    )
    with pytest.raises(ManifestError) as caught:
        manifest.load(path)
    lines = str(caught.value).splitlines()
    places = [line.removeprefix(f"{path}:").split(": ")[0] for line in lines]
    assert places == ["1:1", "5:1", "7:14", "8:3", "11:8", "11:25"]
    assert "unknown key" in lines[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoder": None}, "needs both `decoder` and `file`"),
        ({"file": None}, "needs both `decoder` and `file`"),
        ({"kind": "motion"}, "is no network"),
        ({"options": {"a": 1}}, "belong to algorithms"),
        ({"labels": None}, "`labels` are missing"),
        ({"labels": []}, "labels"),
        ({"labels": "klingon"}, "no label list called 'klingon'"),
        ({"decoder": {"type": "yolo", "min_scor": 0.1}}, r":\d+:\d+: decoder.min_scor: unknown key"),
        ({"decoder": {"type": "yolo", "iou": 7}}, "decoder.iou"),
        ({"decoder": {"min_score": 0.2}}, "decoder.type: a key is missing"),
        ({"input": {"size": [64, 32], "mean": [1, 2]}}, "mean has 2 values, but rgb has 3 channels"),
        ({"input": {"size": [64, 32], "std": [1, 2, 0]}}, "divides by zero"),
        ({"input": {"size": [64, 32], "scale": 0}}, "black"),
        ({"input": {"size": [64, 32], "dtype": "uint8", "scale": 0.5}}, "normalises by itself"),
        ({"file": {"name": "x.onnx", "sha256": "0" * 64, "url": "ftp://example.org/x.onnx"}}, "file.url"),
        ({"file": {"name": "x.onnx", "sha256": "0" * 64, "url": "file:///etc/passwd"}}, "file.url"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    path = write_manifest(tmp_path, **changes)
    with pytest.raises(ManifestError, match=words):
        manifest.load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [1", "not valid YAML"), ("- 1\n", "is a mapping"), ("", "is a mapping"), ("a: 1\na: 2\n", "not valid YAML")],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError, match=words):
        manifest.load(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="cannot be read"):
        manifest.load(path)


def test_labels_may_lie_in_a_file_beside_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "pets.txt").write_text("cat\n\n dog \n")
    assert manifest.load(write_manifest(tmp_path, labels="pets")).labels == ("cat", "dog")


def test_scale_is_folded_into_mean_and_std() -> None:
    spec = manifest.ModelInput(size=(8, 8), scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    mean, std = spec.normalisation
    for channel in range(3):
        expected = (200 / 255 - spec.mean[channel]) / spec.std[channel]
        assert (200 - mean[channel]) / std[channel] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("layout", "colour", "shape"),
    [
        ("nchw", "rgb", (3, 32, 64)),
        ("nhwc", "bgr", (32, 64, 3)),
        ("nchw", "gray", (1, 32, 64)),
        ("nhwc", "gray", (32, 64, 1)),
    ],
)
def test_the_shape_follows_layout_and_colour(layout: str, colour: str, shape: tuple[int, int, int]) -> None:
    assert manifest.ModelInput.model_validate({"size": [64, 32], "layout": layout, "colour": colour}).shape == shape


def test_models_in_the_user_s_folders_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b", "cache/streamvision/models"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STREAMVISION_MODELS", f"{tmp_path / 'a'}:{tmp_path / 'b'}:{tmp_path / 'a'}")
    path = write_manifest(tmp_path / "a")
    write_manifest(tmp_path / "cache/streamvision/models").rename(tmp_path / "cache/streamvision/models/gate.yaml")
    (tmp_path / "b" / "data.yaml").write_text("train: images\nnames: [cat]\n")  # another program's
    (tmp_path / "b" / "Bad Name.yaml").write_bytes(path.read_bytes())
    (tmp_path / "b" / "yolox-nano.yaml").write_bytes(path.read_bytes())
    assert set(manifest.names()) >= {"toy", "gate", "yolox-nano", "motion"}
    assert not {"data", "Bad Name"} & set(manifest.names())
    assert manifest.locate("toy") == path
    assert manifest.load("yolox-nano").name == "yolox-nano"  # shipped names win
    write_manifest(tmp_path / "b")
    with pytest.raises(ManifestError, match=r"several models called 'toy': .*/a/toy.yaml, .*/b/toy.yaml; remove"):
        manifest.locate("toy")


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "repeats itself through aliases"),
        ("a: " + "[" * 40 + "]" * 40, "nested too deeply"),
        ("a: " + "[" * 20_000, "nested too deeply"),
        ("a: " + "x" * (2 << 20), "larger than 1 MiB"),
    ],
)
def test_a_manifest_that_would_never_end_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError, match=words):
        manifest.load(path)


@pytest.mark.parametrize("name", ["../secret", "/etc/hosts", "a/b", ".", "a b", "a\0b"])
def test_a_label_list_is_no_way_to_other_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("cat\ndog\n")
    (tmp_path / "in").mkdir()
    with pytest.raises(ManifestError, match="no name of a label list"):
        manifest.load(write_manifest(tmp_path / "in", labels=name))


@pytest.mark.parametrize("name", ["../x.onnx", "/etc/x.onnx", "a/b.onnx", "a\\b.onnx", "x.onnx\n", "x.bin", ".onnx"])
def test_a_network_file_is_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError, match=r"file\.name"):
        manifest.load(write_manifest(tmp_path, file={"name": name, "sha256": "0" * 64}))

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from streamvision.capture.picture import ArrayPicture
from streamvision.dataset import rgb
from streamvision.errors import BrokenMedia
from streamvision.train.augmentation import Augmentation
from streamvision.types import Fit, InputSpec
from tests.train.data.sets import coloured

pytest.importorskip("torch", reason="training needs the extra train")

import torch

from streamvision.train.batches import Batch
from streamvision.train.data import Batches

WH = (96, 64)


def equal(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.pictures, other.pictures)
        and [example.path for example in one.examples] == [example.path for example in other.examples]
        and all(
            torch.equal(a.boxes, b.boxes) and torch.equal(a.labels, b.labels) and torch.equal(a.ignore, b.ignore)
            and torch.equal(a.label_maps["ground"], b.label_maps["ground"])
            for a, b in zip(one.targets, other.targets, strict=True)
        )
    )  # fmt: skip


def varied(folder: Path, workers: int = 0, **options: object) -> Batches:
    dataset = coloured(folder)
    return Batches(dataset, WH, 2, Augmentation(), seed=5, workers=workers, **options)  # type: ignore[arg-type]


def test_batches_carry_what_a_network_needs(tmp_path: Path):
    batches = varied(tmp_path, masks=True)
    found = list(batches.epoch(0))
    assert len(batches) == len(found) == 4
    for batch in found:
        assert (batch.pictures.shape, batch.pictures.dtype) == ((2, 3, 64, 96), torch.uint8)
        assert len(batch) == len(batch.letterboxes) == len(batch.examples) == 2
        for target in batch.targets:
            assert (target.boxes.dtype, target.labels.dtype, target.ignore.dtype) == (
                torch.float32, torch.int64, torch.bool,
            )  # fmt: skip
            assert target.masks is not None
            assert (target.masks.dtype, target.masks.shape) == (torch.bool, (len(target.boxes), 64, 96))
            assert (target.label_maps["ground"].dtype, target.label_maps["ground"].shape) == (torch.uint8, (64, 96))
            assert target.objects_known


def test_worker_processes_and_memory_change_nothing(tmp_path: Path):
    alone = varied(tmp_path)
    others = [varied(tmp_path, workers=2), varied(tmp_path, workers=1, cache_mb=1), varied(tmp_path, cache_mb=50)]
    for epoch in range(2):
        expected = list(alone.epoch(epoch))
        for other in others:
            assert all(equal(a, b) for a, b in zip(expected, other.epoch(epoch), strict=True))
    assert not equal(next(iter(alone.epoch(0))), next(iter(alone.epoch(1))))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_goes_on_in_the_middle(tmp_path: Path, workers: int):
    whole = list(varied(tmp_path).epoch(3))
    resumed = varied(tmp_path, workers)
    assert next(iter(resumed.epoch(1))) is not None  # left half way: nothing of it must show
    rest = list(resumed.epoch(3, 2))
    assert len(rest) == len(whole) - 2
    assert all(equal(a, b) for a, b in zip(whole[2:], rest, strict=True))


def test_the_numbers_that_torch_draws_elsewhere_stay_the_same(tmp_path: Path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for _ in varied(tmp_path).epoch(0):
        pass
    assert torch.equal(torch.rand(1), expected)


def test_processes_share_an_epoch(tmp_path: Path):
    one = list(varied(tmp_path).epoch(2))
    parts = [list(varied(tmp_path, rank=rank, world=2).epoch(2)) for rank in (0, 1)]
    assert [len(part) for part in parts] == [2, 2]
    for number, batch in enumerate(one):
        assert equal(batch, parts[number % 2][number // 2])


def test_the_last_batch_of_training_is_full_and_what_comes_again_is_varied_otherwise(tmp_path: Path):
    found = list(varied(tmp_path).epoch(0))
    paths = [example.path for batch in found for example in batch.examples]
    assert len(paths) == 8
    assert len(set(paths)) == 7
    assert paths[-1] == paths[0]
    assert not torch.equal(found[-1].pictures[-1], found[0].pictures[0])


@pytest.mark.parametrize("fit", list(Fit))
def test_evaluation_sees_what_an_engine_would(tmp_path: Path, fit: Fit):
    dataset = coloured(tmp_path)
    batches = Batches(dataset, WH, 3, fit=fit, pad=77)
    found = list(batches.epoch(0))
    assert [len(batch) for batch in found] == [3, 3, 1]
    examples = [example for batch in found for example in batch.examples]
    assert [example.path for example in examples] == [example.path for example in dataset.examples]
    pictures = torch.cat([batch.pictures for batch in found])
    targets = [target for batch in found for target in batch.targets]
    letterboxes = [letterbox for batch in found for letterbox in batch.letterboxes]
    for example, picture, target, letterbox in zip(examples, pictures, targets, letterboxes, strict=True):
        pixels, expected = ArrayPicture(rgb(example.path)).prepare(InputSpec(WH, fit, pad=77))
        np.testing.assert_array_equal(picture.permute(1, 2, 0).numpy(), pixels)
        assert letterbox == expected
        assert example.objects is not None
        np.testing.assert_allclose(letterbox.to_source(target.boxes.numpy()), example.objects.xyxy, atol=0.01)


def test_sets_may_appear_more_often_than_others(tmp_path: Path):
    batches = Batches(coloured(tmp_path, 4), WH, 2, Augmentation(), shown=[3, 1, 1, 1])
    paths = [example.path.stem for batch in batches.epoch(0) for example in batch.examples]
    assert sorted(paths) == ["0", "0", "0", "1", "2", "3"]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("augment", [None, Augmentation(mosaic=0)])
def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, workers: int, augment: Augmentation | None):
    dataset = coloured(tmp_path, 2)
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(BrokenMedia, match=r"1\.png"):
        list(Batches(dataset, WH, 2, augment, workers=workers).epoch(0))


def test_a_picture_as_a_whole_keeps_its_label(tmp_path: Path):
    from streamvision.dataset import Dataset, Example

    plain = coloured(tmp_path, 3)
    examples = tuple(Example(one.path, one.size_wh, label=number) for number, one in enumerate(plain.examples))
    batches = Batches(Dataset("x", ("a", "b", "c"), examples), WH, 3, Augmentation(mosaic=1, mixup=1))
    (batch,) = batches.epoch(0)
    assert sorted(target.label for target in batch.targets if target.label is not None) == [0, 1, 2]
    assert not any(target.objects_known for target in batch.targets)


def test_small_pictures_are_kept_as_they_are_and_large_ones_bounded(tmp_path: Path):
    from streamvision.train.data.store import Store

    dataset = coloured(tmp_path, 5)
    store = Store(dataset, WH, 1 << 20)
    for index in range(5):
        stored = store.load(index)
        height, width = stored.rgb.shape[:2]
        scale = min(1.0, 1.5 * max(96 / stored.source_wh[0], 64 / stored.source_wh[1]))
        assert (width, height) == tuple(round(side * scale) for side in stored.source_wh)
        again = store.load(index)
        np.testing.assert_array_equal(again.rgb, stored.rgb)
        np.testing.assert_array_equal(again.maps["ground"], stored.maps["ground"])
        assert again.rgb.base is not None  # a view of what is kept


def test_reading_on_does_not_need_the_beginning(tmp_path: Path):
    assert len(list(islice(varied(tmp_path).epoch(0, 3), 5))) == 1
    assert list(varied(tmp_path).epoch(0, 4)) == []

import pytest

from streamvision.geometry import Letterbox


@pytest.mark.parametrize(
    ("source_wh", "top_left", "centre"),
    [
        ((512, 341), (416, 277), (416, 277)),  # 277.06
        ((512, 342), (416, 277), (416, 278)),  # 277.875
        ((720, 480), (416, 277), (416, 277)),  # 277.33; 720 * (416 / 720) is a little less than 416 in floats
        ((416, 416), (416, 416), (416, 416)),
        ((4000, 2), (416, 1), (416, 1)),
    ],
)
def test_sizes_are_rounded_as_the_networks_were_trained(
    source_wh: tuple[int, int], top_left: tuple[int, int], centre: tuple[int, int]
) -> None:
    assert Letterbox.fit(source_wh, (416, 416), centre=False).inner_wh == top_left
    assert Letterbox.fit(source_wh, (416, 416)).inner_wh == centre

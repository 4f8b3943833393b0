"""Outputs keep the names of the network's file on every backend, whatever compiling fuses into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from streamvision import plugins
from tests.engine import networks

ENDS: dict[str, list[Any]] = {
    "reshaped last": [helper.make_node("Sigmoid", ["x"], ["aa"]), helper.make_node("Reshape", ["aa", "s"], ["zz"])],
    "another name": [helper.make_node("Sigmoid", ["x"], ["aa"]), helper.make_node("Identity", ["aa"], ["zz"])],
    "activated last": [helper.make_node("Reshape", ["x", "s"], ["aa"]), helper.make_node("Sigmoid", ["aa"], ["zz"])],
}  # fmt: skip


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("end", ENDS)
def test_an_output_is_called_what_the_file_calls_it(tmp_path: Path, backend: str, end: str) -> None:
    shape = [1, 3, 4, 6]
    path = networks.save(
        tmp_path / "net.onnx", ENDS[end],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("zz", TensorProto.FLOAT, shape)],
        [helper.make_tensor("s", TensorProto.INT64, [4], np.array(shape))],
    )  # fmt: skip
    plugin = plugins.load("backend", backend)
    compiled = plugin(networks.network(path, size=(6, 4)), plugin.Options(workers=1))
    assert compiled.output_names == ("zz",)
    compiled.close()

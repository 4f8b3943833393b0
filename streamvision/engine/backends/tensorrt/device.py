"""Pictures that already lie in a GPU's memory, from whoever decoded them.

Two protocols: ``__cuda_array_interface__`` (Numba's, version 3) and DLPack (``__dlpack__``, dlpack.h version 0.x, whose
capsule every later producer still gives by default).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamvision.errors import EngineError

_CUDA_DEVICES = (2, 13)
"""DLPack's kDLCUDA and kDLCUDAManaged."""
_UNSIGNED = 1
_KINDS = {0: "i", _UNSIGNED: "u", 2: "f"}
_LEGACY_DEFAULT_STREAM = 1


@dataclass(frozen=True, slots=True)
class DevicePicture:
    """An array in device memory: ``rows`` rows of ``row_bytes`` contiguous bytes, each ``pitch`` bytes further."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: int
    row_bytes: int
    pitch: int
    stream: int | None
    """The stream that still writes it, None when it is written or when it has been told to wait."""
    owner: object
    """Keeps the memory alive."""


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("number", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def on_device(item: Any) -> bool:
    """Say whether an object claims to be in device memory."""
    if isinstance(item, np.ndarray):
        return False
    if hasattr(item, "__cuda_array_interface__"):
        return True
    return hasattr(item, "__dlpack_device__") and item.__dlpack_device__()[0] in _CUDA_DEVICES


def device_picture(item: Any, stream: int, where: str) -> DevicePicture:
    """Return where an object's pixels lie; a DLPack producer is told to be done before ``stream`` goes on.

    Raises `EngineError` for one whose rows are not contiguous.
    """
    if hasattr(item, "__cuda_array_interface__"):
        return _from_interface(item, where)
    return _from_dlpack(item, stream, where)


def _from_interface(item: Any, where: str) -> DevicePicture:
    said = item.__cuda_array_interface__
    shape, dtype = tuple(said["shape"]), np.dtype(said["typestr"])
    strides = said.get("strides")
    return _picture(int(said["data"][0]), shape, dtype, strides, said.get("stream"), item, where)


def _from_dlpack(item: Any, stream: int, where: str) -> DevicePicture:
    capsule = item.__dlpack__(stream=stream or _LEGACY_DEFAULT_STREAM)
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _Tensor.from_address(get_pointer(capsule, b"dltensor"))
    if tensor.dtype.code not in _KINDS or tensor.dtype.lanes != 1:
        raise EngineError("a picture of a type that is no plain number", where=where)
    dtype = np.dtype(f"{_KINDS[tensor.dtype.code]}{tensor.dtype.bits // 8}")
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    strides = tuple(tensor.strides[axis] * dtype.itemsize for axis in range(tensor.ndim)) if tensor.strides else None
    return _picture((tensor.data or 0) + tensor.byte_offset, shape, dtype, strides, None, capsule, where)


def _picture(
    address: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    strides: tuple[int, ...] | None,
    stream: int | None,
    owner: object,
    where: str,
) -> DevicePicture:
    """Read the strides: rows (the first dimension) may lie apart, as decoders align them; the rest may not."""
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    pitch = row_bytes if strides is None or shape[0] == 1 else int(strides[0])
    if strides is not None and not _contiguous(shape[1:], tuple(strides)[1:], dtype.itemsize):
        raise EngineError(f"a picture on the GPU whose rows are not contiguous (strides {strides})", where=where)
    return DevicePicture(address, shape, dtype, shape[0], row_bytes, pitch, stream, owner)


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    expected = itemsize
    for side, stride in zip(reversed(shape), reversed(strides), strict=True):
        if side != 1 and stride != expected:
            return False
        expected *= side
    return True

"""What codecs at low rates leave of a picture: JPEG, and H.264 as cameras stream it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

from streamvision.errors import MissingError
from streamvision.types import UInt8

_JPEG_QUALITY = (35, 22, 14, 8, 4)
_H264_QP = (33, 38, 42, 46, 51)


def compression(rgb: UInt8, strength: int, rng: np.random.Generator) -> UInt8:
    """Return the picture after JPEG of low quality."""
    del rng  # the same every time
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY[strength - 1]]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def h264(rgb: UInt8, strength: int, rng: np.random.Generator) -> UInt8:
    """Return the picture after H.264 at a low rate, as a key frame of a stream with a fixed quantiser.

    Raises `MissingError` where FFmpeg comes without libx264.
    """
    del rng
    height, width = rgb.shape[:2]
    # 4:2:0 needs even sides: the last column or row is shown twice, and cut off again.
    even = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    packets = _encoded(even, _H264_QP[strength - 1])
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    return np.ascontiguousarray(frames[0].to_ndarray(format="rgb24")[:height, :width])


def _encoded(rgb: UInt8, qp: int) -> list[Any]:
    try:
        encoder = av.CodecContext.create("libx264", "w")
    except (ValueError, av.FFmpegError) as error:
        raise MissingError(
            "FFmpeg comes without the encoder libx264", where="distortion h264", remedy="install PyAV from PyPI"
        ) from error
    encoder.width, encoder.height = rgb.shape[1], rgb.shape[0]
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "qp": str(qp), "x264-params": "log=-1"}
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    frame.pts = 0
    return [*encoder.encode(frame), *encoder.encode(None)]

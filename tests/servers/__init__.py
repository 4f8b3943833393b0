"""Real servers for tests: RTSP (GStreamer) and HTTP cameras, on free ports of the loopback."""

from .http import LOGIN, Camera, http_camera, refused_port, self_signed, silent_server
from .rtsp import RtspServer, requires_rtsp, rtsp_available

__all__ = [
    "LOGIN",
    "Camera",
    "RtspServer",
    "http_camera",
    "refused_port",
    "requires_rtsp",
    "rtsp_available",
    "self_signed",
    "silent_server",
]

"""Real servers for tests: RTSP (GStreamer) and HTTP cameras, on free ports of the loopback."""

from .rtsp import RtspServer, requires_rtsp, rtsp_available

__all__ = ["RtspServer", "requires_rtsp", "rtsp_available"]

"""A real RTSP server (GStreamer) that sends access units from memory, for ever. Run by Debian's own Python.

    /usr/bin/python3 rtsp_server.py '{"address": "127.0.0.1", "port": 0, "mounts": {"gate": "gate.json"}}'

Prints ``READY {"port": N}`` when it listens and ends when its standard input does. Each mount is one shared media
that behaves like a camera: it sends in real time, from the file's start when the first client comes, and a client
that joins later waits for the next key frame. Nothing is decoded or encoded, so it costs next to no CPU.
"""

import json
import sys
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

# The parser repeats the parameter sets once per key frame. The payloader would do so before every slice of one, and
# a client then takes each slice for a picture of its own.
PIPELINE = {
    "h264": "appsrc name=units ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 config-interval=0",
    "hevc": "appsrc name=units ! h265parse config-interval=-1 ! rtph265pay name=pay0 pt=96 config-interval=0",
}
CAPS = {
    "h264": "video/x-h264,stream-format=byte-stream,alignment=au",
    "hevc": "video/x-h265,stream-format=byte-stream,alignment=au",
}
TRANSPORTS = {"tcp": GstRtsp.RTSPLowerTrans.TCP, "udp": GstRtsp.RTSPLowerTrans.UDP}
LATE_S = 0.5  # later than this (the process was frozen) we go on from now, as a camera does, and send no backlog


class Clip:
    """The access units of one file, in memory."""

    def __init__(self, index: Path) -> None:
        head = json.loads(index.read_text())
        data = index.with_suffix(".bin").read_bytes()
        self.codec = head["codec"]
        self.duration_ns = head["duration_ns"]
        self.units = [(data[at : at + size], pts, dts, key) for at, size, pts, dts, key in head["units"]]


class Feeder(threading.Thread):
    """Pushes one clip into one appsrc, in real time."""

    def __init__(self, clip: Clip, source: Gst.Element, loop: bool) -> None:
        super().__init__(daemon=True)
        self._clip, self._source, self._loop = clip, source, loop
        self._stopped = threading.Event()

    def stop(self, *_: object) -> None:
        self._stopped.set()

    def run(self) -> None:
        start_s, shift_ns = time.monotonic(), 0
        while not self._stopped.is_set():
            for data, pts, dts, key in self._clip.units:
                wait_s = start_s + (dts + shift_ns) / 1e9 - time.monotonic()
                if wait_s < -LATE_S:
                    shift_ns -= int(wait_s * 1e9)
                if self._stopped.wait(max(0.0, wait_s)) or not self._push(data, pts + shift_ns, dts + shift_ns, key):
                    return
            if not self._loop:
                self._source.emit("end-of-stream")
                return
            shift_ns += self._clip.duration_ns

    def _push(self, data: bytes, pts_ns: int, dts_ns: int, key: bool) -> bool:
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.pts, buffer.dts = pts_ns, dts_ns
        if not key:
            buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
        return self._source.emit("push-buffer", buffer) == Gst.FlowReturn.OK


def configure(_factory: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia, clip: Clip, loop: bool) -> None:
    source = media.get_element().get_by_name("units")
    source.set_property("caps", Gst.Caps.from_string(CAPS[clip.codec]))
    source.set_property("format", Gst.Format.TIME)
    source.set_property("is-live", True)
    source.set_property("block", False)
    feeder = Feeder(clip, source, loop)
    media.connect("unprepared", feeder.stop)
    source.connect("need-data", lambda *_: feeder.start() if feeder.ident is None else None)


def factory(settings: dict, clip: Clip) -> GstRtspServer.RTSPMediaFactory:
    made = GstRtspServer.RTSPMediaFactory()
    made.set_launch(f"( {PIPELINE[clip.codec]} )")
    made.set_shared(True)
    made.set_latency(0)
    made.set_eos_shutdown(False)
    transports = TRANSPORTS[settings["transports"][0]]
    for name in settings["transports"][1:]:
        transports |= TRANSPORTS[name]
    made.set_protocols(transports)
    if settings.get("auth"):
        role = GstRtspServer.RTSPPermissions()
        for permission in ("media.factory.access", "media.factory.construct"):
            role.add_permission_for_role("user", permission, True)
        made.set_permissions(role)
    made.connect("media-configure", configure, clip, settings["loop"])
    return made


def auth(user: str, password: str, method: str) -> GstRtspServer.RTSPAuth:
    made = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if method == "basic":
        made.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        made.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    else:
        made.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        made.add_digest(user, password, token)
    return made


def sweep(server: GstRtspServer.RTSPServer) -> bool:
    server.get_session_pool().cleanup()
    return True


def main() -> None:
    settings = json.loads(sys.argv[1])
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(settings["address"])
    server.set_service(str(settings["port"]))
    for name, index in settings["mounts"].items():
        server.get_mount_points().add_factory(f"/{name}", factory(settings, Clip(Path(index))))
    if settings.get("auth"):
        server.set_auth(auth(*settings["auth"]))
    loop = GLib.MainLoop()
    if not server.attach(None):
        sys.exit("cannot listen")
    GLib.timeout_add_seconds(2, sweep, server)
    GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, lambda *_: loop.quit())
    print("READY", json.dumps({"port": server.get_bound_port()}), flush=True)
    loop.run()


main()

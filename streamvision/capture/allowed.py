"""What FFmpeg may do for each kind of source: the formats it reads, the protocols they reach, how much it holds.

FFmpeg guesses a format from content and then follows what that content says: a file called video.mp4 may be a list of
other files (ffconcat, HLS), a session description may open ports (SDP). So each kind of source has an allow-list of
formats and of protocols; both are inherited by whatever a playlist refers to. Measured with libavformat 62: a local
playlist could name any file of the machine, with the protocol ``file`` alone allowed.
"""

from __future__ import annotations

from typing import Final

MAX_PIXELS: Final = 8192 * 8192
"""A decoder gives no picture above this: no camera makes one, and a header can claim 200 million pixels for nothing."""
MAX_STREAMS: Final = 64
"""Tracks of one container; FFmpeg keeps a parser and buffers for each."""

# Containers and elementary streams that hold their own pictures and refer to nothing else. Not among them: concat,
# hls, dash, sdp, rtsp, lavfi and other devices.
_CONTAINERS: Final = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,mxf,gxf,asf,flv,live_flv,nut,ogg,wtv,rm,dv,ivf,obu,av1,h261,h263,"
    "h264,hevc,vvc,vc1,dirac,cavsvideo,mjpeg,mjpeg_2000,mpjpeg,smjpeg,yuv4mpegpipe,gif,apng,swf,nsv,dhav,"
    "jpeg_pipe,jpegls_pipe,jpegxl_pipe,j2k_pipe,png_pipe,bmp_pipe,webp_pipe,tiff_pipe,gif_pipe"
)
_LABEL_PICTURES: Final = "png_pipe,bmp_pipe,tiff_pipe,gif_pipe,webp_pipe,pgm_pipe,pbm_pipe,ppm_pipe,pam_pipe,gif"

_BOUNDS: Final = {"max_pixels": str(MAX_PIXELS), "max_streams": str(MAX_STREAMS)}

LOCAL_FILE: Final = {
    "protocol_whitelist": "file",
    # One picture is read by image2, which by default takes the file's name for a pattern of many names.
    "format_whitelist": f"{_CONTAINERS},image2",
    "pattern_type": "none",
    **_BOUNDS,
}
"""A file is itself alone: it can name neither another file nor the network."""
WEB: Final = {
    # crypto decrypts HLS segments (AES-128) that come over the other ones.
    "protocol_whitelist": "http,https,tls,tcp,crypto,httpproxy",
    "format_whitelist": f"{_CONTAINERS},hls",
    **_BOUNDS,
}
"""An HLS playlist may name other addresses on the network, and never a file of this machine."""
CAMERA: Final = {"protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls", "max_streams": str(MAX_STREAMS)}
"""RTSP, whose format is never guessed; decoders are bounded when they are prepared."""
LABEL_FILE: Final = {"protocol_whitelist": "file", "format_whitelist": _LABEL_PICTURES}

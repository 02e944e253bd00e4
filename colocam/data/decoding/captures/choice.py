"""Choice of the decoder: OpenCV, and PyAV for the files that OpenCV decodes wrongly.

From version 4.13, OpenCV does not convert interlaced frames to BGR and does not report that: the
image is black or that of another frame. The same holds for the few color spaces that FFmpeg cannot
convert; PyAV reports these frames. Everything else is the same in both, which contain FFmpeg.
"""

from __future__ import annotations

from typing import Any

import av
from av.error import FFmpegError

from colocam.data.decoding.captures.h264 import is_for_all_frames, read_sps
from colocam.data.decoding.captures.open import Decoder
from colocam.data.decoding.captures.pyav import decoded, open_container, to_rgb

_SAMPLING = 250  # packets between two samples
# Codecs of television, which may switch between progressive and interlaced at every frame.
_SWITCHING = frozenset({"mpeg2video", "vc1"})
_PROGRESSIVE = frozenset({"av1", "vp8", "vp9"})


def choose_decoder(path: str) -> Decoder:
    """Returns the library that decodes a video file correctly.

    Frames are decoded only where the headers do not state that all are progressive: every frame of
    a stream that may switch between progressive and interlaced, until one is interlaced, and one
    key frame in about 250 frames of other streams.

    Args:
        path: path of the file.

    Returns:
        "opencv" also if neither can read the file.
    """
    try:
        # Opening a file decodes its first frames, which takes longer than all the rest.
        container, stream = open_container(path, skip_frame="all")
    except (FFmpegError, IndexError):
        return "opencv"
    with container:
        codec = stream.codec_context
        sps = read_sps(codec.extradata) if codec.name == "h264" else None
        if not _is_convertible(sps.colorspace if sps else codec.colorspace):
            return "pyav"
        if codec.name in _PROGRESSIVE or (
            sps and sps.frame_mbs_only and is_for_all_frames(codec.extradata)
        ):
            return "opencv"
        may_switch = codec.name in _SWITCHING or (
            codec.name == "h264" and not (sps and sps.frame_mbs_only)
        )
        frames = decoded(container, stream, _all if may_switch else _Sampling())
        return "pyav" if any(map(_is_wrong_in_opencv, frames)) else "opencv"


def _is_wrong_in_opencv(frame: Any) -> bool:
    return frame.interlaced_frame or (not frame.is_corrupt and to_rgb(frame) is None)


def _is_convertible(colorspace: int) -> bool:
    """Returns whether FFmpeg can convert frames of a color space to RGB."""
    frame = av.VideoFrame(16, 16, "yuv420p")
    frame.colorspace = colorspace
    return to_rgb(frame) is not None


def _all(packet: Any) -> bool:
    return True


class _Sampling:
    """Selects the first and about every 250th packet, of key frames only."""

    def __init__(self) -> None:
        self._number = self._due = 0

    def __call__(self, packet: Any) -> bool:
        self._number += 1
        if self._number < self._due or not packet.is_keyframe:
            return False
        self._due = self._number + _SAMPLING
        return True

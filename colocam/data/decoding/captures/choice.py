"""Choice of the decoder: OpenCV, or PyAV for the files that OpenCV decodes wrongly.

From version 4.13, OpenCV does not convert interlaced frames to BGR and does not report that: the
image is black or that of another frame. The same holds for the few color spaces that FFmpeg cannot
convert; PyAV reports these frames. Everything else is the same in both, which contain FFmpeg.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from colocam.data.decoding.captures.h264 import SequenceParameters, is_for_all_frames, read_sps
from colocam.data.decoding.captures.open import import_pyav
from colocam.data.decoding.captures.opencv import OpenCVCapture

_SAMPLED, _SAMPLING = 1000, 250  # packets that are read, packets between two samples of them
_HEADERS = 512  # bytes of a packet that contain its parameter sets
# Codecs of television, which may switch between progressive and interlaced at every frame.
_SWITCHING = frozenset({"h264", "mpeg2video", "vc1"})
# Four-character codes:
_H264 = frozenset({"avc1", "h264"})
_PROGRESSIVE = frozenset({"av01", "vp80", "vp90"})
# Color spaces that FFmpeg cannot convert: YCgCo, BT.2020 constant luminance, ICtCp and others.
_NOT_CONVERTED = frozenset({8, *range(10, 18)})


def is_wrong_in_opencv(path: str, capture: OpenCVCapture) -> bool:
    """Returns whether OpenCV decodes frames of a video file wrongly.

    PyAV is used only where the headers do not state that all frames are progressive. It decodes
    every frame of a stream that may switch between progressive and interlaced, until one is
    interlaced, and a few key frames at the beginning of other streams.

    Args:
        path: path of the file.
        capture: a capture of the file, of which no frame has been grabbed.

    Raises:
        UserError: PyAV is needed and not installed.
    """
    codec, extradata = capture.codec, capture.extradata
    sps = read_sps(extradata) if codec in _H264 else None
    if sps and sps.colorspace in _NOT_CONVERTED:
        return True
    has_headers_apart = is_for_all_frames(extradata)
    if codec in _PROGRESSIVE or (sps and sps.frame_mbs_only and has_headers_apart):
        return False
    pyav = import_pyav(path)
    try:
        container, stream = pyav.open_container(path)
    except (pyav.FFmpegError, IndexError):
        return False
    with container:
        packets: Iterator[Any] = container.demux(stream)
        if sps and not has_headers_apart:
            packets = filter(_Fields(sps), packets)
        elif stream.codec_context.name not in _SWITCHING:
            packets = filter(_KeyFrames(), islice(packets, _SAMPLED))
        return any(
            frame.interlaced_frame or (not frame.is_corrupt and pyav.to_rgb(frame) is None)
            for frame in pyav.decoded(stream, packets)
        )


class _Fields:
    """Selects the packets of H.264 that may be interlaced, by the parameter sets among them.

    Args:
        sps: the first parameter set of the stream.
    """

    def __init__(self, sps: SequenceParameters) -> None:
        self._sps = sps

    def __call__(self, packet: Any) -> bool:
        if packet.size:  # the last one is empty
            self._sps = read_sps(bytes(memoryview(packet)[:_HEADERS])) or self._sps
        return not self._sps.frame_mbs_only


class _KeyFrames:
    """Selects the first packet, and of the key frames one in about 250."""

    def __init__(self) -> None:
        self._number = self._due = 0

    def __call__(self, packet: Any) -> bool:
        self._number += 1
        if self._number > 1 and (self._number < self._due or not packet.is_keyframe):
            return False
        self._due = self._number + _SAMPLING
        return True

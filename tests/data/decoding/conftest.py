"""Fixtures: videos of all codecs, written with PyAV."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest


def _encode(
    path: Path,
    codec: str,
    images: Iterable[np.ndarray],
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    container: dict[str, str] | None = None,
) -> Path:
    av = pytest.importorskip("av")
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV does not provide the encoder {codec}")
    with av.open(str(path), "w", options=container) as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.pix_fmt = pixels
        for image in images:
            if not stream.codec_context.is_open:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            output.mux(stream.encode(frame.reformat(format=pixels)))
        output.mux(stream.encode(None))
    return path


def _copy_stream(
    source: Path,
    target: Path,
    start: float = 0,
    time_base: Fraction | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(source)) as given, av.open(str(target), "w", options=container) as output:
        stream = given.streams.video[0]
        copy = output.add_stream_from_template(stream)
        if time_base is not None:
            copy.time_base = time_base
        offset = int(start / stream.time_base)
        given.seek(offset, stream=stream)
        to_avi = target.suffix == ".avi"
        name = "h264_mp4toannexb" if to_avi else "null"
        to_format = av.BitStreamFilterContext(name, stream, copy)
        for packet in given.demux(stream):
            if packet.dts is None:
                packets = to_format.filter(None)
            else:
                packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
                packets = to_format.filter(packet)
            for filtered in packets:
                filtered.stream = copy
                output.mux(filtered)
    return target


@pytest.fixture
def encode() -> Callable[..., Path]:
    """Function that encodes RGB images at 25 frames per second; skips without the encoder."""
    return _encode


@pytest.fixture
def copy_stream() -> Callable[..., Path]:
    """Function that copies a video without encoding it, from the time `start` in seconds."""
    return _copy_stream

"""H.264: sequence parameter sets state whether frames may be interlaced, and the color space."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colocam.data.decoding.captures.h264 import is_for_all_frames, read_sps

BLACK = [np.zeros((48, 64, 3), np.uint8)] * 20
# Baseline, level 1; then number 0, frame numbers, order of type 2, 1 reference, no gaps, 4×3
# macroblocks, frames only, no cropping, no color space, end.
_FIELDS = "1 1 011 010 0 00100 011 1 1 0 0 1 00"
SPS = bytes([0x67, 66, 0, 10, *int(_FIELDS.replace(" ", ""), 2).to_bytes(3)])


def extradata(path):
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.extradata


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
@pytest.mark.parametrize(
    ("settings", "pixels", "frame_mbs_only", "colorspace"),
    [
        ("bframes=0", "yuv420p", True, 2),
        ("interlaced=1", "yuv420p", False, 2),
        ("fake-interlaced=1", "yuv420p", False, 2),
        ("colormatrix=bt709:colorprim=bt709:sar=999/998:overscan=show", "yuv420p", True, 1),
        ("colormatrix=YCgCo:interlaced=1", "yuv420p", False, 8),
        ("cqm=jvt:colormatrix=bt709", "yuv444p", True, 1),
        ("cqm=jvt:interlaced=1", "yuv444p", False, 2),
        ("cqm=jvt", "yuv420p10le", True, 2),
    ],
)
def test_parameter_sets_of_an_encoder_are_read(
    tmp_path, encode, suffix, settings, pixels, frame_mbs_only, colorspace
):
    path = encode(tmp_path / f"a{suffix}", "libx264", BLACK, {"x264-params": settings}, pixels)
    data = extradata(path)
    assert read_sps(data) == (frame_mbs_only, colorspace)
    assert is_for_all_frames(data) == (suffix == ".mp4")


@given(st.binary(max_size=80))
def test_arbitrary_data_is_no_error(data):
    for start in (b"", b"\0\0\1\x67", b"\1\x64\0\x0a\xff\xe1\0\x17\x67"):
        found = read_sps(start + data)
        assert found is None or 0 <= found.colorspace < 256


@pytest.mark.parametrize("data", [None, b"", b"\0\0\1", b"\1", b"\0\0\1\x68\xff", SPS])
def test_without_a_parameter_set_nothing_is_known(data):
    assert read_sps(data) is None


def test_a_truncated_parameter_set_is_invalid():
    whole = b"\0\0\1" + SPS
    assert read_sps(whole) == (True, 2)
    for length in range(len(whole) - 1):
        assert read_sps(whole[:length]) is None

"""Raw frames: sizes, both orders of channels, and inputs that end early."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.runtime.errors import UserError
from colocam.streaming.raw_frames import RawFrames, parse_size, standard_input


class Pipe(io.RawIOBase):
    """Bytes that come in pieces of given lengths."""

    def __init__(self, data, pieces=(7,)):
        self.data, self.pieces, self.turn = data, pieces, 0

    def readinto(self, buffer):
        length = min(len(buffer), self.pieces[self.turn % len(self.pieces)], len(self.data))
        self.turn += 1
        buffer[:length], self.data = self.data[:length], self.data[length:]
        return length


def frames_of(data, size, pieces=(7,), **options):
    capture = RawFrames(size, open_file=lambda: Pipe(data, pieces), **options).open()
    frames = []
    while (frame := capture.read()) is not None:
        frames.append(frame)
    capture.close()
    return frames


@given(
    st.integers(1, 5), st.integers(1, 5), st.integers(0, 4),
    st.lists(st.integers(1, 100), min_size=1, max_size=5), st.integers(0, 74), st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_frames_are_those_that_were_written_and_a_rest_is_an_error(
    width, height, count, pieces, rest, bgr
):
    rng = np.random.default_rng(count)
    written = rng.integers(0, 256, (count, height, width, 3), np.uint8)
    rest %= width * height * 3
    data = (written[..., ::-1] if bgr else written).tobytes() + bytes(rest)
    options = {"pixel_format": "bgr24" if bgr else "rgb24", "rate": 10.0}
    if rest:
        with pytest.raises(UserError) as error:
            frames_of(data, (width, height), pieces, **options)
        assert f"within frame {count}, after {rest} of {width * height * 3} bytes" in str(error)
        data = data[:-rest]
    frames = frames_of(data, (width, height), pieces, **options)
    assert len(frames) == count
    for number, (frame, expected) in enumerate(zip(frames, written, strict=True)):
        assert np.array_equal(frame.image, expected)
        assert frame.seconds == pytest.approx(number / 10)


@given(st.integers(1, 16_384), st.integers(1, 16_384))
def test_sizes_are_read(width, height):
    assert parse_size(f"{width}x{height}") == (width, height)


@given(st.text("0123456789xX×* -.", max_size=12))
def test_any_other_text_is_no_size(text):
    try:
        width, height = parse_size(text)
    except ValueError:
        return
    assert f"{width}x{height}" == "x".join(str(int(side)) for side in text.split("x"))
    assert 1 <= min(width, height) <= max(width, height) <= 16_384


@pytest.mark.parametrize(
    "text", ["640", "640x", "x", "0x4", "4x0", "16385x1", "-4x4", "4x4x4", "４x４", ""]
)
def test_wrong_sizes_are_refused(text):
    with pytest.raises(ValueError, match=r"must be WIDTHxHEIGHT|must be 1 to"):
        parse_size(text)


def test_a_terminal_is_no_standard_input(monkeypatch):
    monkeypatch.setattr("os.isatty", lambda number: True)
    with pytest.raises(UserError, match=r"^-: standard input is a terminal"):
        standard_input()

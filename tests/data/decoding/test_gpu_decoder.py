"""The video decoder of a GPU: the frames are those of the CPU."""

from contextlib import closing

import numpy as np
import pytest
import torch

from colocam.data.decoding import capture, video_file
from colocam.data.decoding.capture import Capture, gpu_decodes, gpu_error, to_rgb
from colocam.data.decoding.open import open_video
from colocam.runtime.errors import UserError

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def video(tmp_path, encode):
    """Video of 40 frames of 176×144 noise."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 144, 176, 3), np.uint8)
    return encode(tmp_path / "a.mp4", "libx264", noise, {"bf": "3", "g": "20"})


@pytest.mark.parametrize(("planar", "other"), [("yuv420p", "nv12"), ("yuv420p10le", "p010le")])
def test_layouts_of_gpus_are_converted_to_the_same_rgb(planar, other):
    av = pytest.importorskip("av")
    noise = np.random.default_rng(0).integers(0, 256, (144, 176, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=planar, threads=1)
    on_gpu = frame.reformat(format=other, threads=1)
    assert np.array_equal(to_rgb(frame), to_rgb(on_gpu))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_the_error_names_the_option(video):
    assert gpu_error(str(video))
    with pytest.raises(UserError, match=r"a\.mp4: no GPU that decodes video .*--decoder gpu"):
        open_video(video, "a").decoded_by_gpu()


def test_a_file_that_the_gpu_does_not_decode_stays_with_the_cpu(video, monkeypatch):
    frames = open_video(video, "a")
    monkeypatch.setattr(video_file, "gpu_error", lambda _: None)
    monkeypatch.setattr(capture, "_options", lambda _: {})
    assert not gpu_decodes(str(video))  # the CPU is no GPU
    monkeypatch.setattr(video_file, "gpu_decodes", lambda _: False)
    assert frames.decoded_by_gpu(notes := []) == frames.decoded_by_gpu() == frames
    assert notes == ["a: the GPU does not decode it; the CPU does"]
    monkeypatch.setattr(video_file, "gpu_decodes", lambda _: True)
    assert frames.decoded_by_gpu(notes).decoder == "gpu"
    assert len(notes) == 1


@pytest.mark.parametrize(("codec", "pixels"), [("libsvtav1", "yuv420p"), ("prores", "yuv422p10le")])
def test_a_codec_that_no_gpu_decodes_is_told(tmp_path, encode, codec, pixels):
    suffix = ".mov" if codec == "prores" else ".mp4"
    noise = np.random.default_rng(0).integers(0, 256, (5, 144, 176, 3), np.uint8)
    frames = open_video(encode(tmp_path / f"a{suffix}", codec, noise, pixels=pixels), "a")
    assert frames.decoded_by_gpu(notes := []) == frames
    assert notes == ["a: the GPU does not decode it; the CPU does"]


@needs_gpu
def test_frames_of_a_gpu_are_those_of_the_cpu(video):
    frames = open_video(video, "a")
    found = list(frames.decoded_by_gpu())
    assert all(map(np.array_equal, found, frames))
    assert len(found) == 40


@needs_gpu
def test_a_gpu_decodes(video):
    assert gpu_decodes(str(video))
    with closing(Capture(str(video), decoder="gpu")) as opened:
        assert opened.grab()
        assert opened._stream.codec_context.is_hwaccel

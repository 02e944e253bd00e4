"""bench/lib/frames.py: number, spacing and crops of the frames."""

import numpy as np
import torch

from lib import frames


def test_frames_are_evenly_spaced_and_distinct_as_far_as_possible(tmp_path, write_video):
    video = write_video(tmp_path / "clip.mp4", num_frames=6)
    loaded = frames.load_frames(video, 15, 32)
    assert loaded.distinct == 6
    assert "beyond n = 6" in loaded.about
    pictures = loaded.take(15)
    assert pictures.shape == (15, 3, 32, 32)
    assert pictures.dtype == torch.uint8
    assert len(pictures.flatten(1).unique(dim=0)) == 15
    assert torch.equal(loaded.take(3), pictures[[1, 3, 5]])
    assert "beyond" not in frames.load_frames(video, 6, 32).about


def test_first_crop_is_the_largest_centred_square():
    frame = np.zeros((40, 100, 3), np.uint8)
    frame[:, 30:70] = 200
    assert (frames.square(frame, 20, view=0) == 200).all()
    assert frames.square(frame, 20, view=1).shape == (20, 20, 3)


def test_builtin_frames_are_described_as_not_natural():
    drawn = frames.load_frames(None, 40, 48)
    assert drawn.take(40).shape == (40, 3, 48, 48)
    assert "not natural" in drawn.about

"""bench/lib/step/input.py: batches are full, and a video is a data folder."""

import shutil

import pytest


def test_shots_are_repeated_until_all_batches_are_full(open_tiny_run, clips):
    run, drawn, times = open_tiny_run("--data", str(clips), "--batch-size", "40")
    assert len(run.data.train) == 50  # five batches of ten sequences
    assert len({shot.id for shot in run.data.train}) == 8
    batch = drawn.on(run.device)
    assert batch.images.shape == (40, 3, 64, 64)
    assert batch.num_sequences == len(drawn.lengths) == 10
    assert len(times) == 4
    assert min(times) > 0


@pytest.mark.parametrize("name", ["clip.mp4", "clip.recorded", "folder"])
def test_video_is_one_shot_for_any_suffix(name, tmp_path, write_video, open_tiny_run):
    video = tmp_path / name
    shutil.move(write_video(tmp_path / video.with_suffix(".mp4" if video.suffix else "")), video)
    run, drawn, _ = open_tiny_run("--video", str(video))
    batch = drawn.on(run.device)
    assert len({shot.id for shot in run.data.train}) == 1
    assert batch.images.shape == (8, 3, 64, 64)
    assert len(batch.images.flatten(1).unique(dim=0)) > 4  # each sequence draws its own frames

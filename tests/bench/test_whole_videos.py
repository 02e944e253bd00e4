"""bench/whole_videos.py: every frame counts once, and a perfect localizer has perfect scores."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import whole_videos
from colocam.data.layouts import builtin
from colocam.data.layouts.builtin import write_clip_set
from colocam.evaluation.boxes import box_at, unscale_box
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo, save_checkpoint
from whole_videos import SHARES, Shot, measure


class Perfect:
    """A localizer with boxes at the threshold 0.5 of the maps."""

    def locate(self, probabilities, score_map, size):
        height, width = score_map.shape
        box = box_at(score_map, 0.5)
        found = unscale_box(box, (width, height), size) if box[2] > box[0] else None
        return type("Found", (), {"box": found})


def shot_of(positions, jump=None):
    """A square at the given positions, none where None, with maps equal to the ground truth.

    `jump`: index of a frame whose map shows the square elsewhere.
    """
    frames, truth, maps = [], [], []
    for number, position in enumerate(positions):
        frames.append(np.full((40, 60, 3), 90, np.uint8))
        truth.append(None if position is None else (position, 10, position + 14, 24))
        score_map = np.zeros((40, 60), np.float32)
        if position is not None:
            x = 45 if number == jump else position
            score_map[10:24, x : x + 14] = 1
        maps.append(score_map)
    seen = np.array([position is not None for position in positions])
    probabilities = np.where(seen[:, None], [0.9, 0.1], [0.5, 0.5])
    return Shot(frames, truth, probabilities, np.stack(maps))


def test_perfect_localizer_is_correct_consistent_and_detects_empty_frames():
    found = measure(Perfect(), [shot_of([5, 6, 7, None, None, 8]), shot_of([20, 20])], 0.0)
    assert (found.right, found.jumps) == (100.0, 0.0)
    shared = 14 * 15 / (16 * 15)  # of 15 pixels, corners included, moved by one
    assert found.overlap == pytest.approx((2 * shared + 1) / 3)
    assert found.roc == {"class": 1.0, "map": 1.0, "both": 1.0}


def test_smoothing_removes_a_single_jump():
    shots = [shot_of([5] * 9, jump=4)]
    assert measure(Perfect(), shots, 0.0).jumps == pytest.approx(100 * 2 / 8)
    smoothed = measure(Perfect(), shots, 0.7)
    assert smoothed.jumps == 0
    assert smoothed.ms > 0
    assert np.isnan(smoothed.roc["class"])  # there is no empty frame


def test_two_checkpoints_are_written_as_mean_and_deviation(tmp_path, monkeypatch):
    tiny = replace(builtin.SIZES["small"], videos=(1, 2, 1), frames=(5, 7), long_frames=(8, 9))
    folder = write_clip_set(tmp_path / "clips", tiny)
    monkeypatch.setattr(whole_videos, "builtin_folder", lambda size, seed: folder)
    files = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        info = CheckpointInfo("localizer", "resnet18", builtin.CLASSES, 64, "cam", 0, {})
        files.append(str(tmp_path / f"{seed}.safetensors"))
        save_checkpoint(Path(files[-1]), Localizer("resnet18", 4), info)
    path = tmp_path / "out.json"
    assert whole_videos.main(["--ckpt", *files, "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    names = sorted(folder.glob("*/data/000[12]/shots/*/*.jpg"))
    assert result["frames"] == len(names)
    assert list(result["rows"]) == [f"{share:g}" for share in SHARES]
    for numbers in result["rows"].values():
        assert len(numbers) == 2
        assert all(0 <= one["right"] <= 100 for one in numbers)
    table = path.with_suffix(".md").read_text()
    assert table.count(" ± ") > 4 * 3
    assert "| ground truth | 100 | " in table


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--ckpt"),
        (["--ckpt", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["--ckpt", "x", "--json", "out.txt"], "--json out.txt: must end in .json"),
    ],
)
def test_bad_input_is_one_line(argv, message, tmp_path, error_of, monkeypatch):
    monkeypatch.setattr(whole_videos, "builtin_folder", lambda size, seed: tmp_path)
    monkeypatch.setattr(whole_videos, "read_split", lambda folder: [])
    if "--json" not in argv:
        argv = [*argv, "--json", str(tmp_path / "out.json")]
    assert message in error_of(whole_videos.main, argv)

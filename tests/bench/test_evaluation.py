"""bench/evaluation.py: every kind of maps is timed; user errors are one line."""

import json

import numpy as np
import pytest
import torch

import evaluation
from colocam.evaluation.corloc import CorLoc
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo, save_checkpoint


def test_every_kind_is_timed_over_the_given_number_of_maps(tmp_path, write_video, monkeypatch):
    monkeypatch.setattr(evaluation, "SIDE", 64)
    torch.manual_seed(0)
    info = CheckpointInfo("localizer", "resnet18", ("cat", "dog"), 64, "cam", 0, {})
    save_checkpoint(tmp_path / "l.safetensors", Localizer("resnet18", 2), info)
    video = write_video(tmp_path / "clip.mp4")
    path = tmp_path / "out.json"
    argv = ["--video", str(video), "--ckpt", str(tmp_path / "l.safetensors"), "--maps", "9"]
    assert evaluation.main([*argv, "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    kinds = [row["kind"] for row in result["rows"]]
    assert kinds == [evaluation.CAM, evaluation.ROUGH, evaluation.SCORE]
    for row in result["rows"]:
        assert row["maps"] == 9
        assert row["maps_per_s"] == pytest.approx(9 / row["seconds"])
        assert 1 < row["levels"] <= 256
    assert path.with_suffix(".md").read_text().count("\n| ") == 4  # head and rows


def test_all_maps_are_evaluated_with_one_to_three_boxes(monkeypatch):
    added = []
    original = CorLoc.add_all

    def add_all(self, frames, pool=None):
        added.extend(frames)
        return original(self, frames, pool)

    monkeypatch.setattr(CorLoc, "add_all", add_all)
    maps = [np.full((8, 8), value, np.float32) for value in np.linspace(0, 1, 40)]
    done = []
    evaluation.time_maps("some", maps, done.append)
    assert sum(done) == len(added) == 40
    assert all(one[0] is own for one, own in zip(added, maps, strict=True))
    assert {len(boxes) for _, boxes, *_ in added} == {1, 2, 3}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--maps", "0"], "--maps 0: must be at least 1"),
        (["--video", "nowhere.mp4"], "nowhere.mp4: no such file"),
        (["--ckpt", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--json", "out.txt"], "--json out.txt: must end in .json"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    argv, message, error_of, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if "--json" not in argv:
        argv = [*argv, "--json", str(tmp_path / "out.json")]
    assert message in error_of(evaluation.main, argv)
    assert list(tmp_path.iterdir()) == []

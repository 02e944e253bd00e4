"""bench/localize/exported.py: every way to run a localizer computes the same maps and is timed."""

import json

import exported
import pytest


@pytest.fixture
def argv(tiny_run, write_video, tmp_path):
    ckpt, video = tiny_run.checkpoint("localizer-best"), write_video(tmp_path / "cat.mp4", 3)
    out = tmp_path / "result.json"
    return ["--ckpt", str(ckpt), "--video", str(video), "--seconds", "0.1", "--json", str(out)]


def test_all_ways_are_timed_and_compute_the_same_maps(argv, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    assert exported.main(argv) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["batch_size"] == 3
    names = [row["name"] for row in result["rows"]]
    ways = ["colocam", "colocam, float32", "torch.export (.pt2)", "ONNX Runtime (.onnx)"]
    assert names == ways
    for row in result["rows"]:
        assert min(row["single"], row["batched"]) > 0
        assert row["largest"] < 0.05
    assert result["rows"][1]["largest"] == 0


def test_a_video_that_does_not_exist_is_one_line(argv, tmp_path, capsys):
    argv[3] = str(tmp_path / "missing.mp4")
    assert exported.main(argv) == 2
    error = capsys.readouterr().err
    assert argv[3] in error
    assert error.count("\n") == 1

"""bench/localize/file_to_boxes.py on tiny videos: rows are written; user errors are one line."""

import json

import file_to_boxes
import pytest


def test_every_video_and_a_large_copy_are_measured(tiny_run, write_video, tmp_path, monkeypatch):
    monkeypatch.setattr(file_to_boxes, "LARGE", (192, 108))
    videos = [str(write_video(tmp_path / name, 6)) for name in ("cat.mp4", "dog.mp4")]
    ckpt = str(tiny_run.checkpoint("localizer-best"))
    out = tmp_path / "result.json"
    argv = ["--video", *videos, "--ckpt", ckpt, "--repeats", "1", "--device", "cpu"]
    assert file_to_boxes.main([*argv, "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["video"] for row in rows] == ["cat.mp4", "dog.mp4", "cat-1080p.mp4"]
    assert [row["frames"] for row in rows] == [6, 6, 6]
    assert rows[2]["size"] == "192×108"
    for row in rows:
        assert row["floor"] == min(row["decoding"], row["network"])
        assert 0 < row["boxes"] < row["opening"] * 1.1
    assert "file to boxes" in out.with_suffix(".md").read_text()


@pytest.mark.parametrize("video", ["missing.mp4", "frames"])
def test_bad_video_is_one_line(tiny_run, tmp_path, capsys, video):
    (tmp_path / "frames").mkdir()
    ckpt = str(tiny_run.checkpoint("localizer-best"))
    path = tmp_path / video
    assert file_to_boxes.main(["--video", str(path), "--ckpt", ckpt, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert error.count("\n") == 1

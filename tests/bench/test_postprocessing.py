"""bench/postprocessing.py: every setting has a row; user errors are one line."""

import json

import pytest

import postprocessing


def test_every_setting_is_evaluated(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(postprocessing, "TIMED", 3)
    ckpt = str(tiny_run.checkpoint("localizer-best"))
    argv = ["--ckpt", ckpt, ckpt, "--data", str(tiny_run.data), "--results", str(tmp_path)]
    assert postprocessing.main(argv) == 0
    (path,) = tmp_path.glob("postprocessing-*.json")
    rows = {row["setting"]: row for row in json.loads(path.read_text())["rows"]}
    assert list(rows) == [
        "none", "smoothed 0.3", "refined over 1 frame", "refined over 2 frames",
        "refined over 1 frame, smoothed 0.3",
    ]  # fmt: skip
    for row in rows.values():
        assert all(ms > 0 for ms in row["ms"])
        assert row["corloc"][0] == pytest.approx(row["corloc"][1])  # the same checkpoint twice
        assert row["corloc"][0] >= row["corloc_honest"][0]
    assert path.with_suffix(".md").read_text().count("\n| ") == 1 + len(rows)


def test_classes_of_other_data_are_refused(tiny_run, tmp_path, write_video, capsys):
    for name in ("a", "b"):
        write_video(tmp_path / "data" / "zebra" / f"{name}.mp4")
    ckpt = str(tiny_run.checkpoint("localizer-best"))
    argv = ["--ckpt", ckpt, "--data", str(tmp_path / "data"), "--results", str(tmp_path / "out")]
    assert postprocessing.main(argv) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()

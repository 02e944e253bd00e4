"""bench/localize/stream.py: both runs have a row; errors of the process are one line."""

import json
from pathlib import Path

import pytest
import stream

from lib.frames import load_frames


def test_a_stream_is_measured(tmp_path):
    frames = load_frames(None, 2, 32).frames
    with stream._checkpoint(None) as ckpt:
        row = stream.measure(frames, ckpt, 15, 100.0)
    assert (row.pace, row.frames) == ("100 per second", 15)
    assert row.rate > 0
    assert 0 < row.latency_ms <= row.latency_95_ms
    if Path("/proc/self/status").exists():
        assert 50 < row.early_mb < row.end_mb + 300


def test_both_paces_have_a_row(tmp_path, read_table, monkeypatch):
    def measure(frames, ckpt, count, fps=None):
        assert ckpt.is_file()
        assert frames[0].shape == (32, 32, 3)
        return stream.Row(str(fps), count, 9.5, 800.0, 801.0, None, None)

    monkeypatch.setattr(stream, "measure", measure)
    path = tmp_path / "stream.json"
    assert stream.main(["--size", "32", "--frames", "40", "--json", str(path)]) == 0
    assert [row["frames"] for row in json.loads(path.read_text())["rows"]] == [40, 500]
    head, *rows = read_table(path)
    assert head[:3] == ["frames are written", "frames", "frames/s"]
    assert [row[0] for row in rows] == ["None", "25.0"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["--fps", "0"], "--fps 0: must be above 0"), (["--frames", "2"], "--frames 2: must be")],
)
def test_options_out_of_range_are_refused(argv, message, error_of):
    assert message in error_of(stream.main, argv)


def test_files_that_cannot_be_used_are_one_line(error_of, tmp_path, check_unwritable_result):
    line = error_of(stream.main, ["--ckpt", str(tmp_path / "none.safetensors")])
    assert line.startswith(f"error: {tmp_path / 'none.safetensors'}: no such file")
    check_unwritable_result(stream.main, [])

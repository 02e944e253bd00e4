"""bench/crf_vs_n.py on tiny frames: all rows are written and valid; user errors are one line."""

import argparse
import csv
import dataclasses
import json
import math

import pytest
import torch

from lib import timing
from lib.crf import table

import crf_vs_n

SUBJECTS = [("joint", "grid"), ("joint", "permutohedral"), ("spatial", "permutohedral")]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def written(tmp_path_factory, write_video):
    """Folder of the result files of a run on the CPU."""
    folder = tmp_path_factory.mktemp("crf_vs_n")
    video = write_video(folder / "tiny.mp4", num_frames=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(timing.COPY_BYTES, "cpu", 2**20)
        arguments = ["--device", "cpu", "--n", "2", "1", "--size", "32", "--seconds", "0.001"]
        arguments += ["--video", str(video), "--json", str(folder / "out" / "result.json")]
        arguments += ["--methods", "grid", "permutohedral", "--no-plot"]
        assert crf_vs_n.main(arguments) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def result(written) -> dict:
    return json.loads((written / "result.json").read_text())


def test_every_row_has_finite_positive_times(result):
    rows = result["rows"]
    assert [(row["n"], row["term"], row["method"]) for row in rows] == [
        (n, *subject) for n in (1, 2) for subject in SUBJECTS
    ]
    for row in rows:
        for name in ("forward_ms", "forward_backward_ms", "mpixel_per_s", "floor_ms"):
            assert math.isfinite(row[name])
            assert row[name] > 0, name
        assert row["forward_min_ms"] <= row["forward_ms"] <= row["forward_max_ms"]
        assert row["roofline_percent"] == pytest.approx(
            100 * row["floor_ms"] / row["forward_backward_ms"]
        )
        assert row["mpixel_per_s"] == pytest.approx(row["n"] * 32**2 / 1e3 / row["forward_ms"])
        assert row["graph_ms"] is None
        assert row["published_ms"] is None
        assert row["device"] == "cpu"
    assert result["machine"]["torch"] == torch.__version__
    assert "triton" in result["machine"]
    assert "tiny.mp4" in result["frames"]


def test_errors_are_within_the_bounds_of_the_methods(result):
    for row in result["rows"]:
        bound = 0.5 if row["method"] == "grid" else 6  # %
        assert 0 < row["filter_error_percent"] < bound
        assert row["energy_error_percent"] < bound


def test_csv_has_the_same_rows(written, result):
    with (written / "result.csv").open() as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(result["rows"])
    for line, row in zip(read, result["rows"], strict=True):
        assert list(line) == list(row)
        assert float(line["forward_ms"]) == row["forward_ms"]
        assert line["graph_ms"] == ""


def test_table_has_the_same_rows(written, result, read_table):
    cells = read_table(written / "result.json")
    assert {len(row) for row in cells} == {len(table.HEADS)}
    assert [row[:3] for row in cells[1:]] == [
        [str(row["n"]), row["term"], row["method"]] for row in result["rows"]
    ]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--n", "0", "4"], "--n 0: must be at least 1"),
        (["--n", "two"], "--n: invalid int value: 'two'"),
        (["--n", "1.5"], "--n: invalid int value: '1.5'"),
        (["--size", "2"], "--size 2: must be at least 8"),
        (["--seconds", "0"], "--seconds 0: must be above 0"),
        (["--methods", "abacus"], "--methods: invalid choice: 'abacus'"),
        (["--terms", "spatial", "--methods", "grid"], "nothing to measure"),
        (["--video", "nowhere.mp4"], "nowhere.mp4: no such file or folder"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(arguments, what, tmp_path, error_of):
    path = tmp_path / "out" / "result.json"
    argv = ["--device", "cpu", "--json", str(path), *arguments]
    assert what in error_of(crf_vs_n.main, argv, warned=True)  # of packages that are skipped
    assert not path.parent.exists()


def test_unwritable_result_file_is_an_error_before_measuring(check_unwritable_result):
    check_unwritable_result(crf_vs_n.main, ["--device", "cpu"])


def test_rows_are_written_after_an_interruption(tmp_path, monkeypatch, make_crf_row):
    measured = iter([[make_crf_row(2, "grid", 1.0)], KeyboardInterrupt])

    def measure(*_):
        rows = next(measured)
        if rows is KeyboardInterrupt:
            raise KeyboardInterrupt
        return rows

    monkeypatch.setattr(crf_vs_n, "_measure_undisturbed", measure)
    path = tmp_path / "result.json"
    argv = ["--device", "cpu", "--n", "2", "4", "--size", "16", "--terms", "joint"]
    argv += ["--methods", "grid", "--no-plot", "--json", str(path)]
    assert crf_vs_n.main(argv) == 130
    assert [row["n"] for row in json.loads(path.read_text())["rows"]] == [2]


def test_disturbed_row_is_measured_again_and_the_least_disturbed_is_kept(monkeypatch, make_crf_row):
    shares = iter([50.0, 20.0, 30.0, 2.0])
    row = make_crf_row(2, "grid", 1.0)
    monkeypatch.setattr(
        crf_vs_n,
        "_measure",
        lambda *_: [dataclasses.replace(row, others_cpu_percent=next(shares))],
    )
    waits = []
    monkeypatch.setattr(crf_vs_n, "wait_until_idle", lambda *given: waits.append(given))

    def measured(wait):
        options = argparse.Namespace(wait=wait, seconds=1.0)
        return crf_vs_n._measure_undisturbed(None, None, CPU, 1.0, options)[0].others_cpu_percent

    assert measured(wait=0) == 50
    assert measured(wait=60) == 2
    assert len(waits) == 2

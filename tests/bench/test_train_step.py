"""bench/train_step.py on tiny frames: all parts are written and valid; user errors are one line."""

import json
import math
from pathlib import Path

import pytest
import torch

from lib.step import parts as step_parts
from lib.step.table import HEADS

import train_step

ALONE_PARTS = ("pl alone", "crf alone", "asc alone", "coloc alone", "crf and coloc")
PARTS = (
    *("copy and augmentation", "encoder", "CAM", "seeds", "decoder forward", "losses"),
    *("decoder backward", "optimizer"),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory, clips, tiny_step, small_rates) -> Path:
    """Result file of a run on the CPU."""
    path = tmp_path_factory.mktemp("train_step") / "out" / "result.json"
    assert train_step.main([*tiny_step, "--data", str(clips), "--json", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def result(written) -> dict:
    return json.loads(written.read_text())


@pytest.fixture(scope="module")
def rows(result) -> dict:
    return {row["part"]: row for row in result["rows"]}


def test_every_part_and_term_has_a_finite_positive_time(result):
    assert [row["part"] for row in result["rows"]] == [
        *("input: frames to a batch", *PARTS, "sum of the parts", "whole step", *ALONE_PARTS)
    ]
    for row in result["rows"]:
        for name in ("ms", "step_percent"):
            assert math.isfinite(row[name])
            assert row[name] > 0, row["part"]
        if row["part"] != "sum of the parts":
            assert row["min_ms"] <= row["ms"] <= row["max_ms"]
        assert row["host_ms"] is None  # measured on a GPU only


def test_loss_with_gradient_is_slower_than_without(rows):
    for part, row in rows.items():
        if part == "losses" or part in ALONE_PARTS:
            assert 0 < row["forward_ms"] < row["ms"]
        else:
            assert row["forward_ms"] is None


def test_sum_shares_and_rate_are_computed_from_the_times(result, rows):
    whole = rows["whole step"]["ms"]
    total = sum(rows[part]["ms"] for part in PARTS)
    assert [row["part"] for row in result["rows"] if row["in_sum"]] == list(PARTS)
    assert rows["sum of the parts"]["ms"] == pytest.approx(total)
    assert result["sum_percent"] == pytest.approx(100 * total / whole)
    assert 30 < result["sum_percent"] < 300  # other processes may disturb either
    assert result["crf_percent"] == pytest.approx(100 * rows["crf and coloc"]["ms"] / whole)
    assert result["frames_per_s"] == pytest.approx(8 / (whole / 1e3))
    for row in rows.values():
        assert row["step_percent"] == pytest.approx(100 * row["ms"] / whole)
        if row["floor_ms"] is not None:
            assert row["floor_percent"] == pytest.approx(100 * row["floor_ms"] / row["ms"])


def test_result_states_the_setting(result):
    expected = {
        "device": "cpu",
        "encoder": "resnet18",
        "weights": "random",
        "classes": 4,
        "size": 64,
        "batch_size": 8,
        "frames_a_sequence": 4,
        "frames": 8,
        "sequences": 2,
        "data": "frames of clips",
        "dtype": "float32",
        "memory_format": "channels_last",
        "compiled": False,
        "deterministic": False,
        "workers": 0,
        "seconds": 0.001,
        "repeats": 3,
        "steps_left_out": 0,
        "host_sync": None,
        "published": None,  # of another encoder and size
    }
    assert {name: result[name] for name in expected} == expected
    assert set(result["flops_per_s"]) == {"matmul", "convolution"}
    assert result["copy_bytes_per_s"] > 0
    assert {"peak_mb", "others_cpu_percent", "host_sync_at"} <= set(result)
    assert result["machine"]["torch"] == torch.__version__
    assert {"cpu", "gpu", "commit", "threads"} <= set(result["machine"])


def test_table_has_the_same_rows(written, rows, read_table):
    cells = read_table(written)
    assert {len(row) for row in cells} == {len(HEADS)}
    assert [row[0] for row in cells[1:]] == list(rows)


def test_deterministic_sets_torch_and_the_name_of_the_file(clips, tiny_step, monkeypatch):
    names = []
    monkeypatch.setattr(train_step, "describe", lambda: {"cpu": "Some CPU @ 2 GHz"})
    monkeypatch.setattr(train_step, "result_path", lambda given, name: names.append(name))
    monkeypatch.setattr(train_step, "_measure", lambda *_: ({}, []))
    monkeypatch.setattr(train_step, "_write", lambda *_: None)
    for switch in ("off", "on"):
        arguments = [*tiny_step, "--data", str(clips), "--deterministic", switch]
        assert train_step.main(arguments) == 0
        assert torch.are_deterministic_algorithms_enabled() == (switch == "on")
    torch.use_deterministic_algorithms(False)
    assert names == [
        "train_step-resnet18-some-cpu-2-ghz",
        "train_step-resnet18-some-cpu-2-ghz-deterministic",
    ]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--batch-size", "0"], "--batch-size 0: must be greater than 0"),
        (["--batch-size", "two"], "--batch-size: invalid int value: 'two'"),
        (["--frames", "0"], "--frames 0: must be greater than 0"),
        (["--workers", "-1"], "--workers -1: must not be negative"),
        (["--size", "16"], "--size 16: must be at least 32"),
        (["--seconds", "0"], "--seconds 0: must be above 0"),
        (["--encoder", "resnet34"], "--encoder: unknown 'resnet34'"),
        (["--amp", "fp8"], "--amp: invalid choice: 'fp8'"),
        (["--video", "nowhere.mp4"], "nowhere.mp4: no such file or folder"),
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--data", "x", "--video", "y"], "--video: not allowed with argument --data"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    arguments, what, tiny_step, tmp_path, error_of, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "out" / "result.json"
    assert what in error_of(train_step.main, [*tiny_step, "--json", str(path), *arguments])
    assert not list(tmp_path.iterdir())


def test_unwritable_result_file_is_an_error_before_measuring(tiny_step, check_unwritable_result):
    check_unwritable_result(train_step.main, tiny_step)


@pytest.mark.parametrize(
    ("failure", "what"),
    [
        (torch.OutOfMemoryError("out"), "--batch-size 8: does not fit into memory"),
        (
            torch._dynamo.exc.TorchDynamoException("no C++ compiler\nand more"),
            "--compile: torch.compile fails here (no C++ compiler); give --compile off",
        ),
    ],
)
def test_failure_that_other_arguments_avoid_is_one_line(
    failure, what, clips, tiny_step, small_rates, tmp_path, error_of, monkeypatch
):
    def fail(*_):
        raise failure

    monkeypatch.setattr(step_parts, "_repeat", fail)
    path = tmp_path / "result.json"
    argv = [*tiny_step, "--data", str(clips), "--json", str(path)]
    assert what in error_of(train_step.main, argv)
    assert not path.exists()


def test_rows_are_written_as_they_are_measured(
    clips, tiny_step, small_rates, tmp_path, monkeypatch
):
    path, seen = tmp_path / "result.json", []
    repeat = step_parts._repeat

    def look(*arguments):
        seen.append(json.loads(path.read_text())["repeats"] if path.exists() else 0)
        return repeat(*arguments)

    monkeypatch.setattr(step_parts, "_repeat", look)
    monkeypatch.setattr(step_parts, "KEEP_SECONDS", 0.0)
    assert train_step.main([*tiny_step, "--data", str(clips), "--json", str(path)]) == 0
    assert seen == [0, 0, 1, 2]  # after a warm-up
    assert json.loads(path.read_text())["repeats"] == 3

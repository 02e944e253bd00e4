"""bench/input.py on tiny clips: all rows are written and valid; user errors are one line."""

import json

import pytest

import input as input_bench

SOURCES = ["files", "files, filling the cache", "cache, disk", "cache, memory"]
TINY = ["--batches", "2", "--size", "32"]
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(scope="module")
def written(tmp_path_factory, clips):
    """Result file of a run."""
    path = tmp_path_factory.mktemp("input") / "out" / "result.json"
    arguments = ["--data", str(clips), "--workers", "0", "1", "--json", str(path)]
    assert input_bench.main([*TINY, *arguments]) == 0
    return path


@pytest.fixture(scope="module")
def result(written) -> dict:
    return json.loads(written.read_text())


def test_every_source_is_measured_with_every_number_of_processes(result):
    assert [(row["workers"], row["source"]) for row in result["rows"]] == [
        (workers, source) for workers in (0, 1) for source in SOURCES
    ]
    for row in result["rows"]:
        assert row["frames_per_s"] == pytest.approx(row["frames"] / row["seconds"])
        assert row["ms"] == pytest.approx(1e3 * row["seconds"] / row["batches"])
        assert (row["stored_per_s"] is not None) == (row["source"] == SOURCES[1])


def test_epoch_has_the_given_batches_and_filling_loads_every_shot_once(result):
    for row in result["rows"]:
        if row["source"] == SOURCES[1]:
            assert row["frames"] == 8 * 4  # two videos of each of four classes
        else:
            assert (row["batches"], row["frames"]) == (2, 64)


def test_result_states_the_setting(result, written):
    assert (result["crop"], result["resize"], result["frames"]) == (32, 37, 4)
    assert result["batch_size"] == 32
    assert result["data"] == "clips: 8 shots of image files, 0 of video files"
    lines = written.with_suffix(".md").read_text().splitlines()
    assert "32×32 from 37×37" in lines[0]
    for source in SOURCES:
        assert sum(line.startswith(f"| {source} | ") for line in lines) == 2


def test_training_steps_of_the_same_hardware_are_listed(tmp_path):
    step = {
        "machine": {"cpu": "A", "gpu": "G"},
        "device": "cuda",
        "encoder": "resnet50",
        "size": 224,
        "frames": 32,
        "frames_per_s": 320.0,
        "deterministic": False,
    }
    others = {
        "other-gpu": step | {"machine": {"cpu": "A", "gpu": "H"}},
        "other-cpu": step | {"machine": {"cpu": "B", "gpu": "G"}, "device": "cpu"},
        "other-size": step | {"size": 64},
        "cpu": step | {"device": "cpu", "frames_per_s": 8.0, "deterministic": True},
        "cuda": step,
    }
    for name, content in others.items():
        (tmp_path / f"train_step-{name}.json").write_text(json.dumps(content))
    rows = input_bench.step_rows(tmp_path, {"cpu": "A", "gpu": "G"})
    assert [(row.source, row.frames_per_s, row.ms) for row in rows] == [
        ("a training step: resnet50, A, deterministic", 8.0, 4000.0),
        ("a training step: resnet50, G", 320.0, 100.0),
    ]


@pytest.mark.parametrize(("rate", "verdict"), [(399.0, "missed"), (401.0, "reached")])
def test_target_refers_to_two_processes_at_full_size(rate, verdict):
    rows = [
        input_bench.Row(SOURCES[3], workers, 8, 256, 256 / rate, rate, 1.0, None, 0.0)
        for workers in (0, 1, 2)
    ]
    assert sum(verdict in line for line in input_bench.notes(rows, [], 224)) == 1
    assert not any(verdict in line for line in input_bench.notes(rows, [], 64))


@pytest.mark.parametrize(("need", "verdict"), [(99.0, "does not wait"), (101.0, "training waits")])
def test_training_is_compared_to_the_slowest_loading_from_the_cache(need, verdict):
    rows = [
        input_bench.Row(SOURCES[3], workers, 8, 256, 1.0, rate, 1.0, None, 0.0)
        for workers, rate in ((0, 300.0), (1, 100.0))
    ]
    steps = [input_bench.StepRow("a step", rate, 1.0) for rate in (need, 5.0)]
    assert sum(verdict in line for line in input_bench.notes(rows, steps, 224)) == 1


def test_disturbed_times_are_noted():
    row = input_bench.Row(SOURCES[0], 0, 8, 256, 1.0, 256.0, 1.0, None, 40.0)
    assert any("times are invalid" in line for line in input_bench.notes([row], [], 64))


@pytest.mark.parametrize(
    "wrong",
    [
        ["--batches", "1"],
        ["--workers", "-1"],
        ["--size", "0"],
        ["--scratch", "nowhere"],
        ["--data", "nowhere"],
        ["--json", "table.txt"],
    ],
)
def test_bad_input_is_one_line(wrong, error_of, clips):
    line = error_of(input_bench.main, ["--data", str(clips), *TINY, *wrong])
    assert wrong[0] in line or wrong[1] in line

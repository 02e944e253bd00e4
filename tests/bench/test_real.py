"""bench/real.py: rows, options, the centre box, resuming, errors."""

import json

import pytest

from lib.paper import trials as paper_trials

import real
from colocam.cli.options import parse_config

SPLITS = ("all", "disjoint")


@pytest.fixture
def folders(tmp_path):
    """A data folder, and beside it two folders of split files."""
    (tmp_path / "videos").mkdir()
    for name in SPLITS:
        folder = tmp_path / "videos-splits" / name
        folder.mkdir(parents=True)
        (folder / "class_id.yaml").write_text("cat: 0\n")
    return tmp_path


def summary_of(value):
    return {
        "corloc": {"0.3": value + 20, "0.5": value, "0.7": value - 20},
        "corloc_honest": {"0.5": value - 5, "threshold": 0.3},
        "corloc_v2": value - 1,
    }


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Replaces training and evaluation by scores that follow from the options; configurations."""
    calls = []
    values = {"fcam": 30.0, "tcam": 35.0, "colocam": 50.0}

    def write(folder, value):
        (folder / "report").mkdir(parents=True, exist_ok=True)
        summary = summary_of(value) | {"centre_box": summary_of(21.0)}
        (folder / "report" / "evaluation.json").write_text(json.dumps(summary))

    def train(arguments, threads, log):
        config = parse_config(arguments, cuda=False)
        calls.append(config)
        (config.out / "checkpoints").mkdir(parents=True, exist_ok=True)
        for name in paper_trials.BEST:
            (config.out / "checkpoints" / f"{name}.safetensors").write_bytes(b"weights")
        line = {"stage": "localizer", "epoch": 0, "localization": 40.0, "one_sided": 0.25}
        (config.out / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        write(config.out, values[config.method] + config.seed)

    def evaluate_map(trial):
        trial.folder.mkdir(parents=True, exist_ok=True)
        (trial.folder / "validation.json").write_text('{"corloc": 25.0}')
        write(trial.folder, 28.0)

    monkeypatch.setattr(paper_trials, "train", train)
    monkeypatch.setattr(paper_trials.Trial, "evaluate_map", evaluate_map)
    monkeypatch.setattr(real, "write_sheet", lambda *_: None)
    return calls


def run(folders, *argv):
    places = ["--runs", str(folders / "runs"), "--results", str(folders / "results")]
    return real.main(["--data", str(folders / "videos"), *argv, *places])


def results(folders, split):
    (path,) = (folders / "results").glob(f"real-{split}-small-*.json")
    return json.loads(path.read_text()), path.with_suffix(".md").read_text()


def test_every_method_is_trained_with_every_seed_and_the_same_stage_1(folders, trained):
    assert run(folders, "--seeds", "0", "1") == 0
    assert len([config for config in trained if config.stage == "classifier"]) == 4
    seen = {(c.splits.name, c.seed, c.method) for c in trained if c.stage == "localizer"}
    assert seen == {
        (split, seed, method)
        for split in SPLITS for seed in (0, 1) for method in ("fcam", "tcam", "colocam")
    }  # fmt: skip
    assert {config.preset for config in trained} == {"real-cpu"}
    steps = {c.epochs * c.epoch_steps for c in trained if c.stage == "localizer"}
    assert len(steps) == 1  # the same for all methods


def test_table_has_the_centre_box_and_the_spread_over_the_seeds(folders, trained):
    assert run(folders, "--seeds", "0", "1", "2", "--only", "disjoint") == 0
    result, text = results(folders, "disjoint")
    assert result["centre_box"]["corloc"]["0.5"] == 21.0
    assert [row["name"] for row in result["rows"]] == ["LayerCAM", "F-CAM", "TCAM", "CoLo-CAM"]
    colocam = result["rows"][-1]
    assert colocam["corloc"] == [50.0, 51.0, 52.0]
    assert colocam["corloc_honest"] == [45.0, 46.0, 47.0]
    assert colocam["one_sided"] == [25.0] * 3
    lines = text.splitlines()
    assert "tested on other videos" in lines[0]
    assert "seeds 0, 1, 2" in lines[0]
    assert any(line.startswith("| centre box | 21.0 | 16.0 |") for line in lines)
    assert any(line.startswith("| CoLo-CAM | 51.0 ± 1.0 | 46.0 ± 1.0 |") for line in lines)


def test_finished_trials_are_not_trained_again(folders, trained):
    assert run(folders, "--seeds", "0", "--only", "all") == 0
    count = len(trained)
    assert run(folders, "--seeds", "0", "1", "--only", "all") == 0
    assert {config.seed for config in trained[count:]} == {1}
    assert "train by their tags" in results(folders, "all")[1]


def test_mistakes_are_one_line(folders, tmp_path, error_of):
    def error(*argv):
        return error_of(real.main, list(map(str, argv)))

    assert "no such folder" in error("--data", tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    assert "no folder of split files" in error("--data", tmp_path / "other")
    assert "--only some" in error("--data", folders / "videos", "--only", "some")
    assert "--seeds" in error("--data", folders / "videos", "--seeds", "-1")
    assert "no finished trial" in error(
        "--data", folders / "videos", "--only-done", "--runs", tmp_path / "runs"
    )

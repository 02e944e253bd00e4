"""bench/paper.py: no trial is trained twice; tables have measured and published numbers."""

import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.paper import runs as paper_runs
from lib.paper import trials as paper_trials
from lib.paper.stored_maps import make_trial
from lib.paper.tables import BUDGETS, TABLES, Row, make_table
from lib.paper.trials import Experiment, Trial

import paper
from colocam.cli.options import parse_config
from colocam.data.layouts.open import open_data

BENCH = Path(__file__).resolve().parents[2] / "bench"

SMALL = BUDGETS["small"]


@pytest.fixture(autouse=True)
def no_clip_set(monkeypatch, tmp_path):
    """No clip set is generated."""
    monkeypatch.setattr(paper_trials, "builtin_folder", lambda *_: tmp_path / "clips")


@pytest.fixture
def trained(monkeypatch):
    """Replaces training: writes scores computed from the options; list of the configurations."""
    calls = []

    def train(arguments, threads, log):
        config = parse_config(arguments, cuda=False)
        calls.append(config)
        report = config.out / "report"
        report.mkdir(parents=True)
        (config.out / "checkpoints").mkdir(exist_ok=True)
        for name in paper_trials.BEST:
            (config.out / "checkpoints" / f"{name}.safetensors").write_bytes(b"weights")
        value = 10 * config.frames + config.seed
        summary = {"corloc": {"0.5": value}, "corloc_honest": {"0.5": value - 1}}
        summary["centre_box"] = {"corloc": {"0.5": 21.0}, "corloc_honest": {"0.5": 17.0}}
        (report / "evaluation.json").write_text(json.dumps(summary))
        scores = [value - 5, value - 2, value - 3]
        lines = [
            {"stage": "localizer", "epoch": i, "localization": score, "one_sided": i / 8}
            for i, score in enumerate(scores)
        ]
        log = "".join(json.dumps(line) + "\n" for line in lines)
        (config.out / "metrics.jsonl").write_text(log)

    monkeypatch.setattr(paper_trials, "train", train)
    return calls


def run(tmp_path, *argv):
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    return paper.main([*argv, "--preset", "smoke", *folders])


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("budget", BUDGETS)
def test_every_row_has_valid_options_of_train(name, budget, tmp_path):
    table = make_table(name, BUDGETS[budget])
    names = [row.name for row in table.rows]
    assert len(set(names)) == len(names) >= 3
    experiment = Experiment(tmp_path, None, None, {"preset": "smoke"})
    for row in table.rows:
        options = make_trial(experiment, row, 0).options
        arguments = experiment.arguments(0, tmp_path, row.classifier, options)
        config = parse_config(arguments, cuda=False)
        assert config.seed == 0
        for option, value in options.items():
            assert getattr(config, option.replace("-", "_")) == value


def test_tables_share_trials_with_equal_options(tmp_path):
    experiment = Experiment(tmp_path, None, None, {"preset": "smoke"})

    def folder(table, name, seed=0):
        rows = {row.name: row for row in make_table(table, SMALL).rows}
        return Trial(experiment, rows[name], seed).folder

    colocam = folder("table3", "CoLo-CAM")
    assert colocam == folder("table1", "CoLo-CAM") == folder("table2", "PL + ASC + CRF + CoLoc")
    assert colocam == folder("fig2a", "CoLo-CAM, n = 4") == folder("fig2c", "adaptive, n = 4")
    assert colocam == folder("fig2b", "λ_c = 5") == folder("table5", "adjacent")  # the default
    assert folder("table3", "F-CAM") == folder("table2", "PL + ASC + CRF")
    assert folder("table3", "TCAM") == folder("fig3", "TCAM, n = 2")
    others = [colocam, folder("table3", "F-CAM"), folder("table3", "TCAM"),
              folder("table7", "m = 1"), folder("table2", "PL"), folder("fig2b", "λ_c = 9"),
              folder("table3", "CoLo-CAM", 1), folder("table6", "CoLo-CAM, VGG16")]  # fmt: skip
    assert len(set(others)) == len(others)


def test_tcam_trains_on_as_many_frames_as_other_methods(tmp_path, trained):
    """An epoch of TCAM trains on one frame per shot, an epoch of other methods on n."""
    assert run(tmp_path, "fig2a", "--seeds", "0") == 0
    by_method = {config.method: config for config in trained if config.stage == "localizer"}
    default = parse_config(["--preset", "smoke"], cuda=False)
    tcam, colocam = by_method["tcam"], by_method["colocam"]
    assert tcam.epochs == default.frames * colocam.epochs
    assert tcam.decay_every == default.frames * colocam.decay_every
    assert tcam.epochs / tcam.evaluate_every == colocam.epochs / colocam.evaluate_every


def test_table_begins_with_the_box_around_the_centre(tmp_path, trained):
    assert run(tmp_path, "table5", "--seeds", "0") == 0
    lines = (tmp_path / "results" / "paper-table5-builtin-smoke.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")][2:]
    assert rows[0].startswith("| centre box | 21.0 | 17.0 | - | - |")
    assert rows[1].startswith("| adjacent |")


def test_trial_of_other_options_than_now_is_refused(tmp_path, trained, capsys):
    """The preset of a later version may differ, while the folder has the same name."""
    assert run(tmp_path, "table5", "--seeds", "0") == 0
    config = parse_config(["--preset", "smoke", "--seed", "0"], cuda=False)
    (folder,) = (tmp_path / "runs").glob("*/seed0_localizer")
    for lr, status in ((config.lr, 0), (config.lr / 2, 2)):
        options = json.dumps({"preset": "smoke", "lr": lr})
        (folder / "config.json").write_text(options)
        assert run(tmp_path, "table5", "--seeds", "0") == status
    assert f"{folder}: was trained with lr {config.lr / 2}, not {config.lr}" in " ".join(
        capsys.readouterr().err.split()
    )


def test_options_of_the_joint_term_do_not_matter_without_it(tmp_path, trained):
    assert run(tmp_path, "fig2a", "--seeds", "0") == 0
    tcam = next(one.out for one in trained if one.method == "tcam")
    (classifier,) = (tmp_path / "runs").glob("*/seed0_classifier")
    for folder in (tcam, classifier):
        options = json.dumps({"preset": "smoke", "coloc_weight": 1.5, "joint_features": "both"})
        (folder / "config.json").write_text(options)
    assert run(tmp_path, "fig2a", "--seeds", "0") == 0
    colocam = next(
        one.out for one in trained if (one.stage, one.method) == ("localizer", "colocam")
    )
    (colocam / "config.json").write_text(options)
    assert run(tmp_path, "fig2a", "--seeds", "0") == 2


def test_finished_trial_is_not_trained_again_and_stage_1_once_per_seed(tmp_path, trained):
    argv = ["fig2a", "--seeds", "0", "1"]
    assert run(tmp_path, *argv) == 0
    stages = [config.stage for config in trained]
    rows = len(make_table("fig2a", SMALL).rows)
    assert (stages.count("classifier"), stages.count("localizer")) == (2, 2 * rows)
    assert run(tmp_path, *argv) == 0
    assert len(trained) == len(stages)
    assert run(tmp_path, "fig3", *argv[1:]) == 0  # rows of TCAM in fig2a
    assert len(trained) == len(stages)
    assert run(tmp_path, "fig2a", "--seeds", "0", "1", "2") == 0
    assert {config.seed for config in trained[len(stages) :]} == {2}


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_stage_1_is_finished_before_stage_2_for_any_number_of_jobs(
    tmp_path, trained, monkeypatch, jobs
):
    train, running, most = paper_trials.train, [], []

    def slowly(arguments, threads, log):
        assert (threads is None) == (jobs == 1)
        running.append(arguments)
        most.append(len(running))
        time.sleep(0.02)
        train(arguments, threads, log)  # fails without the checkpoints of stage 1
        running.remove(arguments)

    monkeypatch.setattr(paper_trials, "train", slowly)
    argv = ["fig2a", "--jobs", str(jobs), "--seeds", "3", "4"]
    assert run(tmp_path, *argv, "4") == 0  # a repeated seed counts once
    assert min(jobs, 2) <= max(most) <= jobs
    folders = [config.out for config in trained]
    assert len(set(folders)) == len(folders) == 2 + 2 * len(make_table("fig2a", SMALL).rows)


def test_no_run_is_started_after_a_failure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paper_runs, "TRAIN", tmp_path / "no-train.py")
    assert run(tmp_path, "fig2a", "--seeds", *map(str, range(9)), "--jobs", "2") == 2
    logs = list((tmp_path / "runs").rglob("*.log"))
    assert 1 <= len(logs) <= 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no-train.py" in message
    assert "failed; its last line: " in message
    assert "can't open file" in message


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interruption_terminates_the_training_runs(tmp_path, how):
    """A signal to the parent process only terminates its runs; no further run is started."""
    (tmp_path / "train.py").write_text(
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        "    pathlib.Path(sys.argv[1] + '.terminated').touch()\n"
        "    sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "time.sleep(60)\n"
    )
    script = (
        "import sys, pathlib\n"
        f"sys.path.insert(0, {str(BENCH)!r})\n"
        "from lib.paper import runs as paper_runs\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "paper_runs.TRAIN = folder / 'train.py'\n"
        "def task(name):\n"
        "    return lambda: paper_runs.train([str(folder / name)], 1, folder / f'{name}.log')\n"
        "paper_runs.run_parallel([task(name) for name in 'abcd'], 2, print)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not ((tmp_path / "a").exists() and (tmp_path / "b").exists()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    parent.send_signal(how)
    assert parent.wait(30) != 0
    assert {path.name for path in tmp_path.glob("*.terminated")} == {"a.terminated", "b.terminated"}
    assert not (tmp_path / "c").exists()


def test_table_has_mean_deviation_and_published_number(tmp_path, trained):
    assert run(tmp_path, "fig2a", "--seeds", "0", "1", "2") == 0
    path = tmp_path / "results" / "paper-fig2a-builtin-smoke.json"
    rows = {row["name"]: row for row in json.loads(path.read_text())["rows"]}
    assert rows["CoLo-CAM, n = 8"]["corloc"] == [80, 81, 82]
    assert rows["CoLo-CAM, n = 8"]["corloc_honest"] == [79, 80, 81]
    assert rows["CoLo-CAM, n = 8"]["validation"] == [78, 79, 80]  # of the best epoch
    assert rows["CoLo-CAM, n = 8"]["commits"] == [paper_trials.commit_name()] * 3
    lines = path.with_suffix(".md").read_text().splitlines()
    four = next(line for line in lines if line.startswith("| CoLo-CAM, n = 4 "))
    assert [cell.strip() for cell in four.split("|")[2:-1]] == [
        "41.0 ± 1.0", "40.0 ± 1.0", "39.0 ± 1.0", "25.0 ± 0.0", "82.1", "",
    ]  # fmt: skip
    assert "The papers: TCAM peaks at n = 2" in lines[-1]


@pytest.mark.parametrize("values", [[50.0, 60.0], [3.0, 4.0, 8.0]])
def test_deviation_is_that_of_a_sample(values):
    text = f"{sum(values) / len(values):.1f} ± {statistics.stdev(values):.1f}"
    assert paper.mean_and_deviation(values) == text
    assert paper.mean_and_deviation(values[:1]) == f"{values[0]:.1f}"


def test_given_number_of_shots_per_class_is_excluded(tmp_path, clips):
    (row,) = [row for row in make_table("table7", SMALL).rows if row.excluded_shots == 1]
    experiment = Experiment(tmp_path, clips, None, {"preset": "smoke"})
    whole = open_data(clips)
    kept = []
    for seed in (0, 0, 1, 2):
        splits = Trial(experiment, row, seed)._write_reduced_splits()
        data = open_data(clips, splits)
        assert (data.val, data.test, data.classes) == (whole.val, whole.test, whole.classes)
        labels = [shot.label for shot in data.train]
        before = [shot.label for shot in whole.train]
        assert all(labels.count(label) == before.count(label) - 1 for label in set(before))
        kept.append([shot.id for shot in data.train])
    assert kept[0] == kept[1]
    assert len({tuple(ids) for ids in kept}) > 1


def test_activation_map_of_stage_1_is_evaluated_on_validation_and_test(tmp_path, tiny_run):
    experiment = Experiment(tmp_path, tiny_run.data, None, {"preset": "smoke"})
    trial = Trial(experiment, Row("LayerCAM", None), 0)
    trial.classifier.mkdir()
    for name in ("checkpoints", "report"):  # not its options, which are others
        (trial.classifier / name).symlink_to(tiny_run.out / name)
    assert trial.has_classifier
    assert not trial.done
    trial.evaluate_map()
    assert trial.done
    assert trial.commit == paper_trials.commit_name()
    scores = trial.scores()
    assert scores.pop("one_sided") is None
    assert all(0 <= score <= 100 for score in scores.values())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["table4"], "table4"),
        (["table3", "--only-done"], "no finished trial in"),
        (["table3", "--seeds", "-1"], "--seeds -1: must not be negative"),
        (["table3", "--budget", "huge"], "huge"),
        (["table3", "--jobs", "0"], "--jobs 0: must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(argv, message, tmp_path, error_of):
    assert message in error_of(lambda argv: run(tmp_path, *argv), argv)
    assert list(tmp_path.iterdir()) == []


def test_failed_run_is_reported_and_has_no_results(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(paper_runs, "TRAIN", tmp_path / "nowhere.py")
    assert run(tmp_path, "table5", "--seeds", "0", "--jobs", "1") == 2
    assert "failed; its message is printed above" in capfd.readouterr().err
    assert not (tmp_path / "results").exists()

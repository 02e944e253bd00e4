"""Fixtures: a short run of train.py, runs with faults, and comparison of runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

CHECKPOINTS = (
    "classifier-best-classification",
    "classifier-best-localization",
    "localizer-best",
    "localizer-last",
)
# Two epochs per stage; 8 shots: three steps per epoch in stage 1, four in stage 2.
TWO_EPOCHS = [
    *("--preset", "smoke", "--device", "cpu", "--classifier-epochs", "2", "--epochs", "2"),
    *("--classifier-batch-size", "3", "--batch-size", "8", "--coloc-ramp", "0"),
]


@pytest.fixture(scope="session")
def two_epochs(tiny_run):
    """Arguments of a run of two epochs per stage on the tiny clip set."""
    return [*TWO_EPOCHS, "--data", str(tiny_run.data)]


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory):
    """Weights of a ResNet18, random: the head alone is not trained on an encoder without a file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(torchvision.models.resnet18().state_dict(), path)
    return str(path)


@pytest.fixture(scope="session")
def run_faulty(tmp_path_factory):
    """Runs jobs of faulty_run.py: a list of (argv, faults) to a list of (status, output)."""

    def run(jobs):
        folder = tmp_path_factory.mktemp("jobs")
        described = [
            {"argv": argv, "faults": faults, "log": str(folder / f"{number}.log")}
            for number, (argv, faults) in enumerate(jobs)
        ]
        path = folder / "jobs.json"
        path.write_text(json.dumps(described))
        script = Path(__file__).with_name("faulty_run.py")
        subprocess.run([sys.executable, str(script), str(path)], check=True, timeout=600)
        statuses = json.loads(path.read_text())["statuses"]
        outputs = [Path(job["log"]).read_text() for job in described]
        return list(zip(statuses, outputs, strict=True))

    return run


def _metrics(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "frames_per_second"} for line in lines]


@pytest.fixture(scope="session")
def metrics_of():
    """The lines of a run's log, without times."""
    return _metrics


def _assert_same_tensors(one, other):
    one, other = load_file(one), load_file(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def _assert_same_runs(one, other):
    for name in CHECKPOINTS:
        path = f"checkpoints/{name}.safetensors"
        _assert_same_tensors(one / path, other / path)
    states = [max((out / "checkpoints").glob("state-*")) for out in (one, other)]
    assert states[0].name == states[1].name
    _assert_same_tensors(*states)
    assert _metrics(one) == _metrics(other)
    reports = [(out / "report" / "evaluation.json").read_text() for out in (one, other)]
    assert reports[0] == reports[1]


@pytest.fixture(scope="session")
def assert_same_runs():
    """Asserts that two runs have the same log, evaluation, and weights to the last bit."""
    return _assert_same_runs

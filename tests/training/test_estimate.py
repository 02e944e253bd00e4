"""Estimate of a run's duration: what is printed, and that it changes nothing."""

import re

import pytest
import torch

from colocam.cli.options import parse_config
from colocam.cli.train import main
from colocam.models import Localizer
from colocam.runtime.distribution import ALONE
from colocam.training import estimate
from colocam.training.run import open_run


@pytest.fixture
def opened(two_epochs, tmp_path, weights_file):
    def make(*options):
        argv = [*two_epochs, "--out", str(tmp_path / "run"), "--amp", "off", *options]
        argv += ["--weights", weights_file]
        run = open_run(parse_config(argv, cuda=False), ALONE)
        return run, Localizer("resnet18", len(run.data.classes))

    return make


def printed(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if "of stage 1" in line]


def test_short_run_prints_no_estimate(opened, capsys):
    estimate.print_estimate(*opened())
    assert printed(capsys) == []


@pytest.mark.parametrize("layers", ["all", "head"])
@pytest.mark.parametrize("method", ["colocam", "tcam"])
def test_estimate_has_steps_and_minutes_of_every_part(opened, capsys, monkeypatch, layers, method):
    monkeypatch.setattr(estimate, "FEWEST_FRAMES", 10)
    run, model = opened("--classifier-layers", layers, "--method", method)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    estimate.print_estimate(run, model)
    (line,) = printed(capsys)
    steps = 8 if method == "colocam" else 2  # a batch of TCAM has eight sequences
    text = f"6 steps of stage 1, {steps} of stage 2; under 1 min on this machine"
    assert line.startswith(text)
    assert re.findall(r"stage 1|stage 2|evaluation", line) == [
        "stage 1", "stage 2", "stage 1", "stage 2", "evaluation"
    ]  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_estimate_does_not_change_the_run(two_epochs, tmp_path, monkeypatch, metrics_of):
    argv = [*two_epochs, "--epochs", "1", "--classifier-epochs", "1"]
    assert main([*argv, "--out", str(tmp_path / "without")]) == 0
    monkeypatch.setattr(estimate, "FEWEST_FRAMES", 1)
    assert main([*argv, "--out", str(tmp_path / "with")]) == 0
    assert metrics_of(tmp_path / "with") == metrics_of(tmp_path / "without")

"""Weights that diverge end a run, or an evaluation, in one line; what was written is complete."""

import json

import pytest
import torch

from colocam.cli.evaluate import main as evaluate
from colocam.cli.train import main as train
from colocam.runtime.files import read_tensors, write_tensors
from colocam.training.state import read_state, state_files

pytestmark = pytest.mark.usefixtures("one_thread")


def one_line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("stage", "option", "epochs"), [("classifier", "--classifier-lr", 0), ("localizer", "--lr", 1)]
)
def test_a_learning_rate_that_is_far_too_large_is_named(
    tiny_run, tmp_path, capsys, stage, option, epochs
):
    """Every gradient is finite, but after the step the outputs are not."""
    out = tmp_path / "run"
    argv = [*tiny_run.arguments, "--amp", "off", "--data", str(tiny_run.data), "--out", str(out)]
    assert train([*argv, option, "1e30"]) == 2
    line = one_line(capsys)
    assert f"{stage} epoch 1: the weights have diverged: the maps of 8 of 8 frames (first: " in line
    assert f"are not finite; try a lower {option} or --amp off; " in line
    states = state_files(out / "checkpoints")
    last = f"the last training state is {states[0]}" if states else "no state was written yet"
    assert line.endswith(last)
    assert [read_state(path).stage for path in states] == ["classifier"] * epochs
    log = out / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.is_file() else []
    assert [json.loads(line)["stage"] for line in lines] == ["classifier"] * epochs
    assert not list((out / "checkpoints").glob("localizer-*"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["head", "to_maps"])
def test_a_checkpoint_with_outputs_that_are_not_finite_is_named(
    tiny_run, tmp_path, capsys, value, name
):
    header, tensors = read_tensors(tiny_run.checkpoint("localizer-best"))
    for key in tensors:
        if key.startswith(name):
            tensors[key] = torch.full_like(tensors[key], value)
    ckpt = tmp_path / "diverged.safetensors"
    write_tensors(ckpt, tensors, header)
    argv = ["--ckpt", str(ckpt), "--data", str(tiny_run.data), "--device", "cpu"]
    assert evaluate([*argv, "--json", str(tmp_path / "n.json")]) == 2
    line = one_line(capsys)
    assert "the maps of 8 of 8 frames (first: " in line
    assert "are not finite: the weights have diverged; train with a lower --lr" in line
    assert not (tmp_path / "n.json").exists()

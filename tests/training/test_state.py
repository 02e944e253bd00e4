"""Training states: contents, damage, and what a run cannot resume from."""

import json
import os
import shutil

import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file

from colocam.cli.evaluate import main as evaluate
from colocam.cli.options import parse_config
from colocam.cli.train import main
from colocam.losses import barrier_sharpness
from colocam.runtime.distribution import Ranks
from colocam.runtime.errors import UserError
from colocam.runtime.files import read_tensors, write_tensors
from colocam.training.state import STAGES, State, newest_state, write_state
from colocam.training.train import train

FIRST, LAST = "state-classifier-0001-000000", "state-localizer-0001-000000"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of the finished run."""
    out = tmp_path / "run"
    shutil.copytree(tiny_run.out, out)
    return out


def resume(out, *options):
    return main(["--resume", "--out", str(out), *options])


def one_line(capsys):
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line


def state(out, name=LAST):
    return out / "checkpoints" / f"{name}.safetensors"


def described(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["state"])


def test_state_holds_everything_to_resume(tiny_run):
    values, tensors = described(state(tiny_run.out)), load_file(state(tiny_run.out))
    assert (values["stage"], values["epoch"], values["step"]) == ("localizer", 1, 0)
    assert values["config"] == json.loads((tiny_run.out / "config.json").read_text())
    lines = (tiny_run.out / "metrics.jsonl").read_text().splitlines()
    assert values["metrics"] == [json.loads(line) for line in lines]
    assert values["best"] == {"localizer": [values["metrics"][1]["localization"]]}
    assert values["barrier_sharpness"] == barrier_sharpness(1)
    assert values["optimizer"]["scheduler"]["last_epoch"] == 1
    weights = load_file(tiny_run.checkpoint("localizer-last"))
    assert all((tensors[f"model.{name}"] == value).all() for name, value in weights.items())
    momenta = {name for name in tensors if name.startswith("momentum.")}
    assert momenta
    assert all(name.startswith(("momentum.decoder.", "momentum.to_maps.")) for name in momenta)
    assert max(float(tensors[name].abs().max()) for name in momenta) > 0
    assert "random.0.cpu" in tensors


def test_state_is_refused_as_checkpoint(tiny_run, capsys):
    argv = ["--ckpt", str(state(tiny_run.out)), "--data", str(tiny_run.data)]
    assert evaluate(argv) == 2
    line = one_line(capsys)
    assert str(state(tiny_run.out)) in line
    assert "localizer-best.safetensors" in line


def damaged(path, how):
    data = bytearray(path.read_bytes())
    if how == "truncated":
        del data[len(data) // 2 :]
    elif how == "empty":
        data.clear()
    else:
        data[how if how >= 0 else len(data) + how] ^= 16
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["truncated", "empty", 3, 60, -7, -1_000_000])
def test_damaged_state_is_reported_and_the_one_before_is_used(
    run, tiny_run, how, capsys, assert_same_runs
):
    damaged(state(run), how)
    assert resume(run) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "warning:" in printed
    assert f"{LAST}.safetensors: damaged" in printed.replace("/ ", "/")
    assert "resuming classifier at epoch 2, step 1" in printed
    assert_same_runs(tiny_run.out, run)


def test_state_with_any_flipped_bit_is_skipped_or_intact(tmp_path):
    """A bit of every third byte, header and tensors."""

    def made(epoch):
        return State(
            "localizer", epoch, 0, 4, {}, {}, 1.0, [], ("cat",), {}, {}, {"model.w": torch.ones(3)}
        )

    for epoch in (1, 2):
        path = write_state(tmp_path, made(epoch), keep=2)
    whole, console = path.read_bytes(), Console(quiet=True)
    for place in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place // 3 % 8)
        path.write_bytes(flipped)
        found = newest_state(tmp_path, STAGES, console)
        assert found.epoch == 1 or vars(found) == vars(made(2)) | {"tensors": found.tensors}
        assert torch.equal(found.tensors["model.w"], torch.ones(3))


def test_no_new_run_is_started_if_all_states_are_damaged(run, capsys):
    for name in (FIRST, LAST):
        damaged(state(run, name), "truncated")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert resume(run) == 2
    assert f"{LAST}.safetensors: damaged" in one_line(capsys)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_damaged_later_state_does_not_replace_a_new_one(run):
    """With --keep 1 the state just written would be removed, and the damaged one kept."""
    shutil.copy(state(run), state(run, "state-localizer-0003-000000"))
    damaged(state(run, "state-localizer-0003-000000"), "truncated")
    assert resume(run, "--epochs", "2", "--keep", "1") == 0
    names = [path.stem for path in (run / "checkpoints").glob("state-*")]
    assert names == ["state-localizer-0002-000000"]


def test_more_epochs_of_stage_1_do_not_replace_a_finished_run(run, capsys):
    state(run, FIRST).unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert resume(run, "--stage", "classifier", "--classifier-epochs", "3") == 2
    assert "stage 1 is finished" in one_line(capsys)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_stage_2_is_trained_again_after_more_of_stage_1(run, tiny_run, tmp_path, assert_same_runs):
    assert resume(run, "--stage", "classifier", "--classifier-epochs", "2", "--keep", "1") == 0
    names = [path.stem for path in (run / "checkpoints").glob("state-*")]
    assert names == ["state-classifier-0002-000000"]
    assert resume(run, "--stage", "all") == 0
    whole = tmp_path / "whole"
    argv = [*tiny_run.arguments, "--classifier-epochs", "2", "--data", str(tiny_run.data)]
    assert main([*argv, "--out", str(whole)]) == 0
    assert_same_runs(whole, run)


def test_state_of_newer_version_is_refused(run, capsys):
    header, tensors = read_tensors(state(run))
    write_tensors(state(run), tensors, header | {"version": "7"})
    assert resume(run) == 2
    assert "format version '7', this package reads 1" in one_line(capsys)


def test_processes_with_different_states_do_not_start(run):
    class NotShared(Ranks):
        def gather(self, value):
            return [value, None]

    config = parse_config(["--resume", "--out", str(run)], False)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="find different training states there"):
        train(config, NotShared(), resume=True)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_state_of_another_architecture_is_refused(run, capsys):
    header, tensors = read_tensors(state(run))
    del tensors["model.decoder." + min(n for n in tensors if "model.decoder" in n)[14:]]
    write_tensors(state(run), tensors, header)
    (run / "report" / "evaluation.json").unlink()
    assert resume(run) == 2
    assert "does not belong to a resnet18 of this configuration" in one_line(capsys)


@pytest.mark.parametrize(
    ("option", "value", "began"),
    [("--encoder", "resnet50", "resnet18"), ("--lr", "0.5", "0.05"), ("--seed", "3", "0")],
)
def test_resumed_run_keeps_its_options(run, capsys, option, value, began):
    assert resume(run, option, value) == 2
    line = one_line(capsys)
    assert f"{option} {value}: the run in {run} started with {began}" in line


def test_other_classes_are_refused(run, capsys, tmp_path, write_video):
    for name in ("cat", "dog"):
        for number in range(3):
            write_video(tmp_path / "data" / name / f"{number}.mp4")
    assert resume(run, "--data", str(tmp_path / "data")) == 2
    assert f"{run}: was trained on the classes checker" in one_line(capsys)


def test_finished_run_can_be_given_more_epochs(run, tiny_run, tmp_path, assert_same_runs):
    assert resume(run, "--epochs", "2") == 0
    whole = tmp_path / "whole"
    argv = [*tiny_run.arguments, "--epochs", "2", "--data", str(tiny_run.data)]
    assert main([*argv, "--out", str(whole)]) == 0
    assert_same_runs(whole, run)


def test_resume_without_a_run_starts_one(tiny_run, tmp_path, assert_same_runs):
    out = tmp_path / "run"
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(out)]
    assert main([*argv, "--resume"]) == 0
    assert_same_runs(tiny_run.out, out)


def test_run_is_repeated_from_its_configuration(tiny_run, tmp_path, assert_same_runs):
    out = tmp_path / "again"
    assert main(["--config", str(tiny_run.out / "config.json"), "--out", str(out)]) == 0
    assert_same_runs(tiny_run.out, out)


def test_deterministic_algorithms_do_not_change_the_result_on_a_cpu(
    tiny_run, tmp_path, capsys, assert_same_runs, monkeypatch
):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # restored after the test
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    out = tmp_path / "run"
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(out)]
    assert main([*argv, "--deterministic", "on"]) == 0
    assert "deterministic: " in capsys.readouterr().out
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"  # PyTorch's condition on a GPU
    assert_same_runs(tiny_run.out, out)

"""Two processes over gloo compute what one process computes, and end together."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from colocam.cli.evaluate import main as evaluate

SCRIPT = Path(__file__).with_name("two_ranks.py")
STEP = "colocam.training.loop:Loop._step"  # per rank: 3 per classifier epoch, 3 per localizer epoch
PARTS = ("classifier", "localizer", "classifier-without-rank-1", "localizer-without-rank-1")


def start(task, given, argv):
    """Starts two_ranks.py in two processes."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(str(SCRIPT), task, str(given), *argv),
    ]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def torchrun(task, given, argv):
    """Exit status and output of two_ranks.py in two processes."""
    process = start(task, given, argv)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@pytest.fixture(scope="module")
def twelve(two_epochs):
    """Arguments with batches of three sequences: two for one rank, one for the other."""
    return [*two_epochs, "--batch-size", "12", "--amp", "off"]


@pytest.fixture(scope="module")
def parts(twelve, tmp_path_factory):
    """Folders with the results of one process and of two."""
    folder = tmp_path_factory.mktemp("parts")
    argv = [*twelve, "--out", str(folder / "run")]
    for name in ("one", "two"):
        (folder / name).mkdir()
    alone = [sys.executable, str(SCRIPT), "parts", str(folder / "one"), *argv]
    subprocess.run(alone, check=True, timeout=300)
    status, output = torchrun("parts", folder / "two", argv)
    assert status == 0, output
    return folder / "one", folder / "two"


@pytest.mark.parametrize("name", PARTS)
def test_averaged_gradient_equals_one_process_on_the_whole_batch(parts, name):
    one, two = (load_file(folder / f"{name}.safetensors") for folder in parts)
    assert one.keys() == two.keys()
    for key, value in one.items():
        atol = 1e-5 * float(value.abs().max())
        torch.testing.assert_close(two[key], value, rtol=0, atol=atol, msg=lambda m, k=key: k + m)


def test_mean_of_rank_means_differs(parts):
    """The test above could not fail if both ranks had equal counts."""
    whole, first = (
        load_file(parts[0] / f"{name}.safetensors")["losses"] for name in (PARTS[1], PARTS[3])
    )
    assert (whole - first).abs().max() > 1e-3


def test_every_rank_has_the_evaluation_of_one_process(parts):
    one = (parts[0] / "evaluation-0.json").read_text()
    for rank in (0, 1):
        assert (parts[1] / f"evaluation-{rank}.json").read_text() == one
    assert json.loads(one)[0]["frames"] == 8


@pytest.fixture(scope="module")
def whole(twelve, tmp_path_factory):
    """A run of two processes."""
    out = tmp_path_factory.mktemp("whole") / "run"
    status, output = torchrun("train", "null", [*twelve, "--out", str(out)])
    assert status == 0, output
    return out, output


def test_only_one_rank_prints(whole):
    assert whole[1].count("run folder:") == 1
    assert whole[1].count("localizer    2/2") == 1


def test_evaluation_equals_that_of_one_process(whole, tiny_run, tmp_path):
    out, file = whole[0], tmp_path / "numbers.json"
    ckpt = str(out / "checkpoints" / "localizer-best.safetensors")
    argv = ["--ckpt", ckpt, "--data", str(tiny_run.data), "--device", "cpu", "--amp", "off"]
    assert evaluate([*argv, "--json", str(file)]) == 0
    assert file.read_text() == (out / "report" / "evaluation.json").read_text()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_all_ranks_end_with_one_and_the_run_can_be_resumed(
    whole, twelve, tmp_path, assert_same_runs, signum
):
    fault = json.dumps({"at": STEP, "call": 8, "do": int(signum)})
    out = tmp_path / "run"
    process = start("train", fault, [*twelve, "--out", str(out)])
    last = out / "checkpoints" / "state-classifier-0002-000000.safetensors"  # two steps before it
    while not last.is_file() and process.poll() is None:
        time.sleep(0.1)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert last.is_file()
    stopped = [path.stem for path in (out / "checkpoints").glob("state-localizer-0000-*")]
    assert stopped == ["state-localizer-0000-000002"] * (signum == signal.SIGTERM), output
    assert ("stopped by SIGTERM; continue with --resume" in output) == (signum == signal.SIGTERM)
    status, output = torchrun("train", "null", ["--resume", "--out", str(out)])
    assert status == 0, output
    assert_same_runs(whole[0], out)

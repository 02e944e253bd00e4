"""Training states written by earlier versions of the package are resumed from.

`state_version_1.json` holds header, names, types and shapes of the tensors of a finished run's
training state, as written by the first version of this format, and the digest of a file with this
header and the tensors of `fill_tensors`.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from colocam.cli.train import main
from colocam.models import Localizer
from colocam.training.progress import Progress
from colocam.training.state import read_state, restore_tensors
from colocam.training.update import Update

NAME = "state-localizer-0002-000000.safetensors"


@pytest.fixture(scope="module")
def pinned():
    path = Path(__file__).with_name("state_version_1.json")
    return json.loads(path.read_text())["state"]


@pytest.fixture
def old_run(pinned, tiny_run, tmp_path, fill_tensors):
    """A finished run's folder, written without the package's own code; on the tiny clip set."""
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    save_file(
        fill_tensors(pinned["tensors"]),
        out / "checkpoints" / NAME,
        pinned["header"] | {"sha256": pinned["sha256"]},
    )
    config = json.loads(pinned["header"]["state"])["config"]
    config |= {"out": str(out), "data": str(tiny_run.data)}
    (out / "config.json").write_text(json.dumps(config))
    (out / "report").mkdir()
    (out / "report" / "evaluation.json").write_text("{}")
    return out


def test_state_of_version_1_is_read(old_run, pinned):
    state = read_state(old_run / "checkpoints" / NAME)
    values = json.loads(pinned["header"]["state"])
    assert json.loads(json.dumps(vars(state) | {"tensors": None})) == values
    assert (state.stage, state.epoch, state.step, state.steps) == ("localizer", 2, 0, 3)
    assert Progress.from_json(state.progress).to_json() == values["progress"]


@pytest.fixture
def keep_random_state():
    before = torch.get_rng_state()
    yield
    torch.set_rng_state(before)


@pytest.mark.usefixtures("keep_random_state")
def test_weights_momenta_and_schedule_of_version_1_are_restored(old_run, pinned, fill_tensors):
    state = read_state(old_run / "checkpoints" / NAME)
    state.tensors["random.0.cpu"] = torch.get_rng_state()  # the pinned one is not a valid state
    model = Localizer("resnet18", 4)
    update = Update(
        [(module, 0.05) for module in model.decoder_modules()],
        momentum=0.9, weight_decay=1e-4, decay_every=1, decay=0.9,
        scaler=torch.amp.GradScaler("cpu", enabled=False),
    )  # fmt: skip
    restore_tensors(state, model, update, rank=0)
    update.load(state.optimizer)
    expected = fill_tensors(pinned["tensors"])
    weights = model.state_dict()
    assert all(torch.equal(expected[f"model.{name}"], value) for name, value in weights.items())
    for name, parameter in model.named_parameters():
        if parameter in update.optimizer.state:
            momentum = update.optimizer.state[parameter]["momentum_buffer"]
            assert torch.equal(expected[f"momentum.{name}"], momentum)
    assert update.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * 0.9**2)


def test_finished_run_of_version_1_is_recognized(old_run, capsys):
    assert main(["--resume", "--out", str(old_run)]) == 0
    assert "this run is finished" in " ".join(capsys.readouterr().out.split())


def test_state_written_today_has_the_pinned_names_and_shapes(tiny_run, pinned):
    """An earlier version of the package can resume from it, with the options it has."""
    path = tiny_run.out / "checkpoints" / "state-localizer-0001-000000.safetensors"
    with safe_open(path, "pt") as file:
        parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
        found = {key: [part.get_dtype(), part.get_shape()] for key, part in parts.items()}
        header = file.metadata()
    assert found == pinned["tensors"]
    assert header.keys() == pinned["header"].keys() | {"sha256"}
    values, expected = json.loads(header["state"]), json.loads(pinned["header"]["state"])
    assert values.keys() == expected.keys()
    assert values["progress"].keys() == expected["progress"].keys()
    assert values["config"].keys() >= expected["config"].keys()

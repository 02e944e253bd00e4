"""The training state: all that a run needs to go on as if it had never stopped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from colocam.runtime.errors import UserError
from colocam.runtime.files import read_tensors, write_tensors
from colocam.training.update import Update

FORMAT, VERSION = "colocam-state", 1
STAGES = ("classifier", "localizer")


@dataclass(frozen=True)
class State:
    """Where a run stands.

    Attributes:
        stage: "classifier" or "localizer".
        epoch: that is being trained, counted from 0; the number of epochs at the end.
        step: steps of it that are done.
        steps: of a whole epoch.
        progress: of the epoch so far, see `colocam.training.loop.Progress`.
        best: best scores on validation so far, by checkpoint.
        barrier_sharpness: z of the log barrier in this epoch.
        metrics: all lines of the log.
        classes: class names, in the order of the logits.
        config: options of the run.
        optimizer: scheduler and scaler, as torch describes them.
        tensors: weights, batch statistics, momenta, random states, by name.
    """

    stage: str
    epoch: int
    step: int
    steps: int
    progress: dict[str, Any]
    best: dict[str, list[float]]
    barrier_sharpness: float
    metrics: list[dict[str, Any]]
    classes: tuple[str, ...]
    config: dict[str, Any]
    optimizer: dict[str, Any]
    tensors: dict[str, Tensor]


def write_state(folder: Path, state: State, keep: int) -> Path:
    """Writes a training state whole, and removes all but the newest `keep`.

    States of later places are those that a resumed run went back behind, damaged or of a stage that
    is trained anew: they go as well, and never take the place of one that was just written.

    Raises:
        UserError: the folder cannot be written, or the disk is full; older states stay.
    """
    path = folder / f"state-{state.stage}-{state.epoch:04d}-{state.step:06d}.safetensors"
    values = json.dumps({**vars(state), "tensors": None})
    header = {"format": FORMAT, "version": str(VERSION), "state": values}
    write_tensors(path, state.tensors, header)
    files = state_files(folder)
    place = files.index(path)
    for other in files[:place] + files[place + keep :]:
        other.unlink(missing_ok=True)
    return path


def state_files(folder: Path, stage: str = "*") -> list[Path]:
    """The training states in a folder of checkpoints, the newest first."""
    return sorted(folder.glob(f"state-{stage}-*.safetensors"), reverse=True)  # c before l


def read_state(path: Path) -> State:
    """Reads a training state.

    Raises:
        UserError: missing, damaged, of another format or version.
    """
    header, tensors = read_tensors(path)  # first: a flipped bit could say another version
    if header.get("format") != FORMAT:
        raise UserError(f"{path}: holds no training state; move it away")
    if header.get("version") != str(VERSION):
        raise UserError(
            f"{path}: format version {header.get('version')!r}, this package reads {VERSION}; "
            "go on with the version of the package that wrote it, or start anew without --resume"
        )
    values = json.loads(header["state"])  # unharmed: its digest says so
    state = State(**{**values, "tensors": tensors})
    return replace(state, classes=tuple(state.classes))


def newest_state(folder: Path, stages: Sequence[str], console: Console) -> State | None:
    """The newest training state of these stages that is not damaged; None where there is none.

    Says so where a newer one is damaged.

    Raises:
        UserError: all of them are damaged, or one is of another version.
    """
    files = [path for path in state_files(folder) if path.name.split("-")[1] in stages]
    damage: list[UserError] = []
    for path in files:
        try:
            state = read_state(path)
        except UserError as error:
            if "damaged" not in str(error):
                raise
            damage.append(error)
            continue
        for error in damage:
            console.print(f"warning: {error}", style="yellow", markup=False, soft_wrap=True)
        return state
    if damage:
        raise UserError(f"{damage[0]}; no other is left: start anew without --resume")
    return None


def gather_tensors(model: nn.Module, update: Update, random_states: Sequence[Mapping]) -> dict:
    """Weights, momenta and random states under names that `restore_tensors` knows."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        if parameter in update.optimizer.state:
            tensors[f"momentum.{name}"] = update.optimizer.state[parameter]["momentum_buffer"]
    for rank, states in enumerate(random_states):
        tensors |= {f"random.{rank}.{name}": value for name, value in states.items()}
    return tensors


def restore_tensors(state: State, model: nn.Module, update: Update, rank: int) -> None:
    """Puts a state's tensors back where `gather_tensors` took them from.

    Raises:
        UserError: they belong to another architecture or another number of classes.
    """
    own = {n: p for n, p in model.named_parameters() if p in update.optimizer.state}
    wanted = {f"model.{name}": value.shape for name, value in model.state_dict().items()}
    wanted |= {f"momentum.{name}": parameter.shape for name, parameter in own.items()}
    found = {n: t.shape for n, t in state.tensors.items() if not n.startswith("random.")}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise UserError(
                f"--resume: the state does not belong to a {state.config['encoder']} of this "
                f"configuration ({name.split('.', 1)[1]} differs); start anew without --resume"
            )
    parts = {name.removeprefix("model."): value for name, value in state.tensors.items()}
    model.load_state_dict({name: parts[name] for name in model.state_dict()})
    with torch.no_grad():
        for name, parameter in own.items():
            buffer = update.optimizer.state[parameter]["momentum_buffer"]
            buffer.copy_(state.tensors[f"momentum.{name}"])
    _restore_random(state.tensors, rank)


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's own sources of random numbers.

    What a step draws comes from the run's seed and the step's number, not from these; they are
    kept for what else may draw (a dropout layer of an encoder to come).
    """
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _restore_random(tensors: Mapping[str, Tensor], rank: int) -> None:
    """Sets this rank's; a rank that there was not before keeps what it has."""
    if (state := tensors.get(f"random.{rank}.cpu")) is not None:
        torch.set_rng_state(state)
    if (state := tensors.get(f"random.{rank}.cuda")) is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state)

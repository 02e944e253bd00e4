"""Training states: everything that a run needs to resume exactly."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from colocam.runtime.errors import DamagedFileError, UserError
from colocam.runtime.files import read_tensors, write_tensors
from colocam.training.run import Run
from colocam.training.update import Update

FORMAT, VERSION = "colocam-state", 1
STAGES = ("classifier", "localizer")
# Options that may change when a run is resumed: where it runs, and for how long. (Another device,
# or compilation, changes the last bits of the result.)
MAY_CHANGE = {
    "out", "device", "workers", "compile", "keep", "state_every", "stop_after_skips", "stage",
    "epochs", "classifier_epochs", "tensorboard", "data", "splits", "seed_maps", "cache",
    "cache_size",
}  # fmt: skip


@dataclass(frozen=True)
class State:
    """Training state of a run.

    Attributes:
        stage: "classifier" or "localizer".
        epoch: current epoch, counted from 0; the number of epochs at the end.
        step: number of its steps that are done.
        steps: number of steps of an epoch.
        progress: of the epoch so far, see `colocam.training.progress.Progress`.
        best: best scores on validation so far, by checkpoint.
        barrier_sharpness: z of the log barrier in this epoch.
        metrics: all lines of the log.
        classes: class names, in the order of the logits.
        config: options of the run.
        optimizer: state dicts of learning rate scheduler and gradient scaler.
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
    """Writes a training state atomically, then removes all but the newest `keep`.

    States that are later than the one written are removed too, whatever `keep` is: they are
    damaged, or of a stage that is being trained again.

    Args:
        folder: of the checkpoints.
        state: to write.
        keep: number of states to keep, at least 1.

    Returns:
        path of the file.

    Raises:
        UserError: the folder cannot be written, or the disk is full; older states stay.
    """
    path = folder / f"state-{state.stage}-{state.epoch:04d}-{state.step:06d}.safetensors"
    values = json.dumps({**vars(state), "tensors": None})
    header = {"format": FORMAT, "version": str(VERSION), "state": values}
    write_tensors(path, state.tensors, header)
    files = state_files(folder)
    position = files.index(path)
    for other in files[:position] + files[position + keep :]:
        other.unlink(missing_ok=True)
    return path


def state_files(folder: Path, stage: str = "*") -> list[Path]:
    """Returns the training states in a folder of checkpoints, the newest first."""
    return sorted(folder.glob(f"state-{stage}-*.safetensors"), reverse=True)  # c before l


def read_state(path: Path) -> State:
    """Reads a training state.

    Raises:
        UserError: missing, damaged, of another format or version.
    """
    header, tensors = read_tensors(path)  # checks the digest, of format and version too
    if header.get("format") != FORMAT:
        raise UserError(f"{path}: is not a training state; move it away")
    if header.get("version") != str(VERSION):
        raise UserError(
            f"{path}: format version {header.get('version')!r}, this package reads {VERSION}; "
            "resume with the version of the package that wrote it, or start a new run without "
            "--resume"
        )
    values = json.loads(header["state"])
    state = State(**{**values, "tensors": tensors})
    return replace(state, classes=tuple(state.classes))


def newest_state(folder: Path, stages: Sequence[str], console: Console) -> State | None:
    """Reads the newest training state of some stages that is not damaged.

    Args:
        folder: of the checkpoints.
        stages: "classifier", "localizer" or both.
        console: prints a warning for every damaged state that is newer.

    Returns:
        the state; None if there is no file.

    Raises:
        UserError: all states are damaged, or one is of another version.
    """
    files = [path for path in state_files(folder) if path.name.split("-")[1] in stages]
    damaged: list[DamagedFileError] = []
    for path in files:
        try:
            state = read_state(path)
        except DamagedFileError as error:
            damaged.append(error)
            continue
        for warning in damaged:
            console.print(f"warning: {warning}", style="yellow", soft_wrap=True)
        return state
    if damaged:
        raise UserError(f"{damaged[0]}; there is no other state: start a new run without --resume")
    return None


def find_state(run: Run, changed: Mapping[str, tuple[object, object]]) -> State | None:
    """Reads the state that a run resumes from; see `newest_state`.

    Args:
        run: the run.
        changed: options that differ from those that the run started with: name to (old, new).

    Returns:
        the state; None if there is none.

    Raises:
        UserError: the state belongs to another configuration or to other classes, or all states
            are damaged.
    """
    stages = STAGES if run.config.stage == "all" else (run.config.stage,)
    state = newest_state(run.checkpoints, stages, run.console)
    if state is None:
        if run.config.stage == STAGES[0] and state_files(run.checkpoints, STAGES[1]):
            raise UserError(
                f"{run.out}: stage 1 is finished, and its training states are removed; omit "
                "--stage classifier to continue with stage 2, or start a new run without --resume"
            )
        return None
    for name, (old, new) in changed.items():
        if name not in MAY_CHANGE:
            raise UserError(
                f"--{name.replace('_', '-')} {new}: the run in {run.out} started with {old}; "
                "--resume keeps its options"
            )
    if state.classes != run.data.classes:
        raise UserError(
            f"{run.out}: was trained on the classes {', '.join(state.classes)}, the data has "
            f"{', '.join(run.data.classes)}; start a new run without --resume"
        )
    return state


def gather_tensors(
    model: nn.Module, update: Update, random_states: Sequence[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Returns weights, momenta and random states under the names that `restore_tensors` reads.

    Args:
        model: whose state dict is stored.
        update: whose momenta are stored.
        random_states: of every rank, see `random_states`.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        if parameter in update.optimizer.state:
            tensors[f"momentum.{name}"] = update.optimizer.state[parameter]["momentum_buffer"]
    for rank, states in enumerate(random_states):
        tensors |= {f"random.{rank}.{name}": value for name, value in states.items()}
    return tensors


def restore_tensors(state: State, model: nn.Module, update: Update, rank: int) -> None:
    """Restores weights, momenta and this rank's random states, in place.

    Raises:
        UserError: they belong to another architecture or another number of classes.
    """
    own = {n: p for n, p in model.named_parameters() if p in update.optimizer.state}
    expected = {f"model.{name}": value.shape for name, value in model.state_dict().items()}
    expected |= {f"momentum.{name}": parameter.shape for name, parameter in own.items()}
    found = {n: t.shape for n, t in state.tensors.items() if not n.startswith("random.")}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise UserError(
                f"--resume: the state does not belong to a {state.config['encoder']} of this "
                f"configuration ({name.split('.', 1)[1]} differs); start a new run without "
                "--resume"
            )
    weights = {name.removeprefix("model."): value for name, value in state.tensors.items()}
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    with torch.no_grad():
        for name, parameter in own.items():
            buffer = update.optimizer.state[parameter]["momentum_buffer"]
            buffer.copy_(state.tensors[f"momentum.{name}"])
    _restore_random_states(state.tensors, rank)


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Returns the states of torch's global random number generators.

    A step draws from generators seeded by the run's seed and the step's number, not from these;
    they are stored for layers of an encoder that draw, such as dropout.
    """
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _restore_random_states(tensors: Mapping[str, Tensor], rank: int) -> None:
    """Sets this rank's random states, if the state has any for this rank."""
    if (state := tensors.get(f"random.{rank}.cpu")) is not None:
        torch.set_rng_state(state)
    if (state := tensors.get(f"random.{rank}.cuda")) is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state)

"""Files of a run in its folder: which they are, what of them is results, and its stored split."""

import json
from contextlib import suppress
from pathlib import Path

from colocam.data.layouts.stored_split import StoredSplit
from colocam.models.checkpoint import read_checkpoint_info
from colocam.report.report import REPORT_FILES
from colocam.runtime.errors import UserError
from colocam.runtime.files import remove_unfinished, write_atomic
from colocam.training.classifier import BEST
from colocam.training.config import Config
from colocam.training.metrics import read_lines
from colocam.training.state import STAGES, state_files

CONFIG, SPLIT, METRICS = "config.json", "split.json", "metrics.jsonl"
CHECKPOINTS = {STAGES[0]: tuple(BEST.values()), STAGES[1]: ("localizer-best", "localizer-last")}
"""Names of the checkpoints of each stage."""


def read_split(out: Path) -> StoredSplit | None:
    """Reads the split of the run in a folder, or of the checkpoints in it; None: there is none.

    Raises:
        UserError: the file cannot be read.
    """
    path = out / SPLIT
    values = None
    try:
        if path.is_file():
            values = json.loads(path.read_bytes())
        else:
            with suppress(UserError):  # loading a checkpoint reports its damage
                for checkpoint in _checkpoints(out, "all"):
                    if not checkpoint.name.startswith("state-"):
                        values = values or read_checkpoint_info(checkpoint).split
        return None if values is None else StoredSplit.from_json(values)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: is not the split of a run ({error}); delete it, then the checkpoints' is used"
        ) from error


def write_run_files(out: Path, config: Config, split: dict[str, dict[str, str]] | None) -> None:
    """Writes configuration and split of a run, in this order: see `foreign_file`.

    Raises:
        UserError: the folder cannot be written.
    """
    write_atomic(out / CONFIG, config.to_json().encode())
    write_atomic(out / SPLIT, (json.dumps(split, indent=1) + "\n").encode())


def clear_folder(out: Path, stage: str, resumed: bool) -> None:
    """Makes the run folder, and removes what the run writes again; other files stay.

    Args:
        out: run folder.
        stage: stages to train; of "localizer" alone the results of stage 1 stay.
        resumed: whether the run continues from a training state; checkpoints and log stay.

    Raises:
        OSError: a file cannot be removed, or the folder cannot be made.
    """
    checkpoints = out / "checkpoints"
    for folder in (out, checkpoints):
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
    stale = _report(out)
    if not resumed:
        stale += _checkpoints(out, stage) + _events(out)
        stale += [out / METRICS] if stage != STAGES[1] else []
    for path in stale:
        path.unlink(missing_ok=True)
    for folder in (out / "report" / "overlays", out / "report", out / "tensorboard"):
        with suppress(OSError):  # it holds other files, or there is none
            folder.rmdir()


def results_of(out: Path, stage: str) -> list[Path]:
    """Results in a folder that a new run of these stages deletes; reports of stage 1 do not count.

    An empty folder, or one with a configuration alone, has none.
    """
    found = _checkpoints(out, stage)
    lines = read_lines(out / METRICS)
    if stage == STAGES[1]:
        lines = [line for line in lines if line.get("stage") != STAGES[0]]
        return found + ([out / METRICS] if lines else [])
    log = [out / METRICS] if (out / METRICS).is_file() and (out / METRICS).stat().st_size else []
    return found + log + _report(out) + _events(out)


def _checkpoints(out: Path, stage: str) -> list[Path]:
    """Checkpoints and training states of a run; of "localizer" alone, without those of stage 1."""
    folder, found = out / "checkpoints", list[Path]()
    for name in (STAGES[1],) if stage == STAGES[1] else STAGES:
        found += [folder / f"{checkpoint}.safetensors" for checkpoint in CHECKPOINTS[name]]
        found += state_files(folder, name)
    return [path for path in found if path.is_file()]


def _report(out: Path) -> list[Path]:
    return [path for name in REPORT_FILES if (path := out / "report" / name).is_file()]


def _events(out: Path) -> list[Path]:
    return sorted((out / "tensorboard").glob("events.out.tfevents.*"))


def foreign_file(out: Path) -> Path | None:
    """Returns a config.json or split.json that no run wrote; None: there is none."""
    config, split = out / CONFIG, out / SPLIT
    try:
        values = json.loads(config.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return split if split.exists() else None  # a run writes it after its configuration
    except (OSError, ValueError, RecursionError):
        return config
    return None if isinstance(values, dict) and "preset" in values else config

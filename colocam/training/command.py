"""The command train.py: data, both stages, evaluation, report."""

import os
import shutil
from collections.abc import Sequence

import torch
from rich.console import Console

from colocam.cam import ActivationMap
from colocam.config import Config, parse_config
from colocam.device import make_autocast, pick_device, seed_everything
from colocam.entry import exit_status
from colocam.errors import UserError
from colocam.evaluation.report import report_frames, report_unreadable
from colocam.model import Localizer
from colocam.model.checkpoint import CheckpointInfo, load_checkpoint, write_whole
from colocam.training.classifier import BEST, train_classifier
from colocam.training.localizer import train_localizer
from colocam.training.loop import Metrics
from colocam.training.run import Run
from colocam.video.data import open_data
from colocam.video.seed_maps import SeedMaps
from colocam.video.synthetic import builtin_folder

METHOD_NAMES = {"colocam": "CoLo-CAM", "tcam": "TCAM", "fcam": "F-CAM"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs train.py with these arguments (None: the process's) and returns its exit status."""
    return exit_status(lambda: train(parse_config(argv, torch.cuda.is_available())))


def train(config: Config) -> None:
    """Trains what the configuration asks for, evaluates it, and leaves everything in its folder.

    Raises:
        UserError: a mistake that the user can mend.
    """
    run = open_run(config)
    seed_everything(config.seed)
    if config.stage == "localizer":
        model, teacher = _classifiers(run)
    else:
        model = Localizer(
            config.encoder, len(run.data.classes), config.weights, pooling=config.pooling
        )
        model, teacher = _placed(model, run), None
    _check_cam(config, model)
    _prepare(run)  # only here: a mistake above leaves an older run in the folder as it was
    unreadable: set[str] = set()
    if config.stage != "localizer":
        unreadable |= train_classifier(run, model)
    if config.stage == "all":
        seed_everything(config.seed)  # the same decoder whether stage 1 ran before or not
        model, teacher = _classifiers(run)
    if config.stage != "classifier":
        unreadable |= train_localizer(run, model, teacher)
    report_unreadable(run.console, sorted(unreadable))
    _report(run)


def _classifiers(run: Run) -> tuple[Localizer, Localizer | None]:
    """The classifier that the decoder builds on, and the one its seeds come from if another."""
    chosen = run.config.classifier
    if chosen != "both":
        return _load(run, BEST[chosen], "classifier")[0], None
    model, _ = _load(run, BEST["classification"], "classifier")
    if run.seed_maps is not None:
        return model, None  # nobody asks the teacher
    return model, _load(run, BEST["localization"], "classifier")[0]


def _check_cam(config: Config, model: Localizer) -> None:
    """A layer that this encoder does not have is told before anything is trained."""
    try:
        ActivationMap(model, config.cam, config.cam_layer)
    except ValueError as error:
        raise UserError(f"--cam-layer {config.cam_layer}: {error}") from error


def open_run(config: Config) -> Run:
    """Opens data and device; the run folder is not touched yet."""
    console = Console()
    device = pick_device(config.device)
    torch.set_float32_matmul_precision("high")
    if config.data is None:
        console.print(f"built-in clip set '{config.clip_set}', seed {config.clip_seed}")
    folder = config.data or builtin_folder(config.clip_set, config.clip_seed)
    data = open_data(folder, config.splits, seed=config.seed)
    for note in data.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    console.print(
        f"{len(data.classes)} classes, {len(data.train)} shots to train on, "
        f"{len(data.val)} frames to validate on, {len(data.test)} to test on; "
        f"{config.encoder} at {config.crop}×{config.crop} on {device}"
    )
    if not data.train:
        raise UserError(f"{folder}: no shot to train on")
    maps = None
    if config.seed_maps is not None and config.stage != "classifier":
        maps = SeedMaps(config.seed_maps)
        maps.check(data.train, config.frame_limit)
    return Run(
        config, data, config.out, device, make_autocast(config.amp, device),
        Metrics(config.out / "metrics.jsonl"), console, maps,
    )  # fmt: skip


def _prepare(run: Run) -> None:
    """Makes the run folder, and empties it of what the stages to run will write again."""
    out = run.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be made ({error.strerror})") from error
    if not os.access(out, os.W_OK):
        raise UserError(f"--out {out}: not writable; give another folder")
    if run.config.stage == "localizer":
        run.metrics.keep("classifier")
        for path in run.checkpoints.glob("localizer-*"):
            path.unlink()
    else:
        run.metrics.path.unlink(missing_ok=True)
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    shutil.rmtree(out / "report", ignore_errors=True)
    write_whole(out / "config.json", run.config.to_json().encode())


def _placed(model: Localizer, run: Run) -> Localizer:
    """The model on the run's device, channels-last, compiled where that is on."""
    model = model.to(run.device, memory_format=torch.channels_last)
    if run.config.compile == "on" or (run.config.compile == "auto" and run.device.type == "cuda"):
        model.encoder.compile()
        model.decoder.compile()
    return model


def _load(run: Run, name: str, kind: str) -> tuple[Localizer, CheckpointInfo]:
    path = run.checkpoint(name)
    model, info = load_checkpoint(path, kind)
    if info.encoder != run.config.encoder:
        raise UserError(
            f"{path}: holds a {info.encoder}, --encoder asks for {run.config.encoder}; "
            "give the same encoder, or train stage 1 again"
        )
    if info.classes != run.data.classes:
        raise UserError(
            f"{path}: was trained on the classes {', '.join(info.classes)}, the data has "
            f"{', '.join(run.data.classes)}; train stage 1 again"
        )
    return _placed(model, run), info


def _report(run: Run) -> None:
    """Evaluates the best checkpoint on the test frames; table, JSON and pictures."""
    if run.config.stage == "classifier":
        model, info = _load(run, BEST[run.config.classifier], "classifier")
    else:
        model, info = _load(run, "localizer-best", "localizer")
    report_frames(
        model, info, run.data.test, run.data.classes,
        device=run.device, autocast=run.autocast, console=run.console,
        folder=run.out / "report", method=METHOD_NAMES[run.config.method],
    )  # fmt: skip
    run.console.print(f"run folder: {run.out}")

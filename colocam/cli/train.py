"""The command train.py: data, both stages, evaluation, report."""

import os
import shutil
import sys
from collections.abc import Sequence

import torch
from rich.console import Console

from colocam.cam import ActivationMap
from colocam.cli.options import Command, parse_command
from colocam.data.layouts.builtin import builtin_folder
from colocam.data.layouts.open import open_data
from colocam.data.loading.cache import FrameCache
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.records import VideoData
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo, load_checkpoint
from colocam.report.report import Report, report_frames
from colocam.runtime.console import make_console
from colocam.runtime.device import make_autocast, pick_device, seed_everything
from colocam.runtime.distribution import Ranks, join_ranks
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError
from colocam.runtime.files import remove_unfinished, write_whole
from colocam.runtime.messages import count_of, print_unreadable
from colocam.training.classifier import BEST, ClassifierStage
from colocam.training.config import Config
from colocam.training.interruption import Interrupted, Interruption, signals_noted
from colocam.training.localizer import LocalizerStage
from colocam.training.loop import Loop
from colocam.training.metrics import Metrics
from colocam.training.run import Run
from colocam.training.state import STAGES, State, newest_state, state_files

METHOD_NAMES = {"colocam": "CoLo-CAM", "tcam": "TCAM", "fcam": "F-CAM"}
# What a resumed run may be given otherwise than it began: where it runs, and how long. (Another
# device, or compiling, gives other bits.)
MAY_CHANGE = {
    "out", "device", "workers", "compile", "keep", "state_every", "stop_after_skips", "stage",
    "epochs", "classifier_epochs", "tensorboard", "data", "splits", "seed_maps", "cache",
    "cache_size",
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs train.py with these arguments (None: the process's) and returns its exit status."""
    return exit_status(lambda: _run(parse_command(argv, torch.cuda.is_available())))


def _run(command: Command) -> int:
    with join_ranks(command.config.device) as ranks:
        try:
            train(command, ranks)
        except Interrupted as signal:
            if ranks.main:
                print(f"stopped by {signal}; go on with --resume", file=sys.stderr)
            return 128 + signal.number
        except torch.OutOfMemoryError as error:
            raise UserError(
                "the GPU's memory is full: give a smaller --batch-size, with --accumulate for the "
                "same step (of --method tcam fewer --frames help as well)"
            ) from error
    return 0


def train(command: Command, ranks: Ranks) -> None:
    """Trains what the configuration asks for, evaluates it, and leaves everything in its folder.

    Raises:
        UserError: a mistake that the user can mend.
        Interrupted: a signal came; the run can be resumed.
    """
    run = open_run(command.config, ranks)
    state = _state_to_resume(run, command) if command.resume else None
    _check_shared(run, state)
    if state is None and command.resume:
        run.console.print(f"{run.out}: nothing to resume, starting afresh")
    if state is not None and _finished(run, state):
        run.console.print(f"{run.out}: this run is finished")
        return
    seed_everything(run.config.seed)
    with signals_noted() as interruption:
        unreadable = _train_stages(run, state, interruption)
    print_unreadable(run.console, sorted(unreadable))
    _report(run)


def _train_stages(run: Run, state: State | None, interruption: Interruption) -> set[str]:
    """Both stages, or what is left of them; names of the frames that could not be decoded."""
    config, unreadable = run.config, set()
    at_localizer = config.stage == "localizer" or (state is not None and state.stage == STAGES[1])
    if at_localizer:
        model, teacher = _classifiers(run)
    else:
        # A state brings the weights itself.
        weights = config.weights if state is None else "none"
        with run.ranks.main_first():
            model = Localizer(
                config.encoder, len(run.data.classes), weights, pooling=config.pooling
            )
        model, teacher = placed(model, run), None
    _check_cam(config, model)
    _prepare(run, state)  # only here: a mistake above leaves an older run in the folder as it was
    if not at_localizer:
        unreadable |= Loop(run, ClassifierStage(run, model), state, interruption).train()
        state = None
        if config.stage == "all":
            seed_everything(config.seed)  # the same decoder whether stage 1 ran before or not
            run.ranks.wait()
            model, teacher = _classifiers(run)
    if config.stage != "classifier":
        unreadable |= Loop(run, LocalizerStage(run, model, teacher), state, interruption).train()
    if number := max(run.ranks.gather(interruption.number)):  # it came too late for the loop
        raise Interrupted(number)
    return unreadable


def _state_to_resume(run: Run, command: Command) -> State | None:
    """The newest state of the stages to run, if it belongs to this configuration and data."""
    stages = STAGES if run.config.stage == "all" else (run.config.stage,)
    state = newest_state(run.checkpoints, stages, run.console)
    if state is None:
        if run.config.stage == STAGES[0] and state_files(run.checkpoints, STAGES[1]):
            raise UserError(
                f"{run.out}: stage 1 is done there, and its training states are gone; leave "
                "--stage classifier away to go on, or start anew without --resume"
            )
        return None
    for name, (old, new) in command.changed.items():
        if name not in MAY_CHANGE:
            raise UserError(
                f"--{name.replace('_', '-')} {new}: the run in {run.out} began with {old}; "
                "--resume goes on as it began"
            )
    if state.classes != run.data.classes:
        raise UserError(
            f"{run.out}: was trained on the classes {', '.join(state.classes)}, the data has "
            f"{', '.join(run.data.classes)}; start anew without --resume"
        )
    return state


def _check_shared(run: Run, state: State | None) -> None:
    """Machines that do not share the run folder would each go on from elsewhere, and wait forever.

    A collective.
    """
    place = None if state is None else (state.stage, state.epoch, state.step)
    if len(set(run.ranks.gather(place))) > 1:
        raise UserError(
            f"--out {run.out}: the processes find different training states there; give a folder "
            "that all machines share"
        )


def _finished(run: Run, state: State) -> bool:
    """Whether nothing is left to do: the numbers are what a run writes last."""
    config = run.config
    last = STAGES[0] if config.stage == "classifier" else STAGES[1]
    epochs = config.classifier_epochs if last == STAGES[0] else config.epochs
    done = state.stage == last and state.epoch >= epochs
    return done and (run.out / "report" / "evaluation.json").is_file()


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


def open_run(config: Config, ranks: Ranks) -> Run:
    """Opens data and device; the run folder is not touched yet."""
    console = make_console(quiet=not ranks.main)
    device = pick_device(config.device, ranks.local)
    _set_arithmetic(config, console)
    if config.data is None:
        console.print(f"built-in clip set '{config.clip_set}', seed {config.clip_seed}")
    # Videos are gone through to count their frames, long ones to be cut: that may take minutes.
    with ranks.main_first(), console.status("opening the data"):
        folder = config.data or builtin_folder(config.clip_set, config.clip_seed)
        cut_over = config.cut_over if config.cut_shots == "on" else None
        data = open_data(
            folder, config.splits, seed=config.seed, cut_over=cut_over, cache=config.cache
        )
    _describe(config, data, device, ranks, console)
    if not data.train:
        raise UserError(f"{folder}: no shot to train on")
    if all(frame is None for shot in data.train for frame in shot.frames):
        what = count_of(len(data.train), "training shot")
        raise UserError(f"{folder}: not one frame of {what} can be decoded; replace them")
    maps = None
    if config.seed_maps is not None and config.stage != "classifier":
        maps = SeedMaps(config.seed_maps)
        maps.check(data.train, config.frame_limit)
    cache = FrameCache(config.cache, int(1e9 * config.cache_size)) if config.cache else None
    board = config.out / "tensorboard" if config.tensorboard == "on" else None
    return Run(
        config, data, config.out, device, make_autocast(config.amp, device),
        Metrics(config.out / "metrics.jsonl", ranks.main, board), console, ranks, maps, cache,
    )  # fmt: skip


def _set_arithmetic(config: Config, console: Console) -> None:
    """What torch may do for speed."""
    deterministic = config.deterministic == "on"
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a search for faults, and slow
    if deterministic:
        # cuBLAS reads it when it is first used; without it, it picks workspaces as they come.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        console.print(
            "deterministic: on a GPU the CRF terms leave the Triton kernels for PyTorch "
            "operations, which costs time; on a CPU it costs nothing"
        )


def _describe(
    config: Config, data: VideoData, device: torch.device, ranks: Ranks, console: Console
) -> None:
    for note in data.notes:
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    where = f"{device.type}, {ranks.world} processes" if ranks.world > 1 else str(device)
    console.print(
        f"{len(data.classes)} classes, {len(data.train)} shots to train on, "
        f"{len(data.val)} frames to validate on, {len(data.test)} to test on; "
        f"{config.encoder} at {config.crop}×{config.crop} on {where}"
    )


def _prepare(run: Run, state: State | None) -> None:
    """Makes the run folder, and empties it of what the stages to run will write again."""
    if run.ranks.main:
        _prepare_folder(run, state)
    elif state is not None:
        run.metrics.restore(state.metrics)
    run.ranks.wait()


def _prepare_folder(run: Run, state: State | None) -> None:
    out = run.out
    try:
        for folder in (out, run.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
        if state is None and run.config.stage == "localizer":
            run.metrics.restore(run.metrics.read("classifier"))
            for path in [
                *run.checkpoints.glob("localizer-*"),
                *state_files(run.checkpoints, STAGES[1]),
            ]:
                path.unlink()
        elif state is None:
            run.metrics.path.unlink(missing_ok=True)
            shutil.rmtree(run.checkpoints)
        shutil.rmtree(out / "report", ignore_errors=True)
        if state is None:
            shutil.rmtree(out / "tensorboard", ignore_errors=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    write_whole(out / "config.json", run.config.to_json().encode())
    if state is not None:
        run.metrics.restore(state.metrics)
        run.console.print(
            f"going on with {state.stage} epoch {state.epoch + 1}, step {state.step + 1}"
        )


def compiles(config: Config, device: torch.device) -> bool:
    """Whether encoder and decoder are compiled there."""
    return config.compile == "on" or (config.compile == "auto" and device.type == "cuda")


def placed(model: Localizer, run: Run) -> Localizer:
    """The model on the run's device, channels-last, compiled where that is on."""
    model = model.to(run.device, memory_format=torch.channels_last)
    on_gpu = run.device.type == "cuda"
    if run.config.sync_batch_norm == "on" and run.ranks.world > 1 and on_gpu:
        # torch.compile does not go with it: its graphs break there, or it fails.
        return torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if compiles(run.config, run.device):
        # Training, frozen, inference, each with a last batch that is smaller, or has one frame.
        torch._dynamo.config.recompile_limit = 32
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
    return placed(model, run), info


def _report(run: Run) -> None:
    """Evaluates the best checkpoint on the test frames; table, JSON and pictures."""
    if run.config.stage == "classifier":
        model, info = _load(run, BEST[run.config.classifier], "classifier")
    else:
        model, info = _load(run, "localizer-best", "localizer")
    config, method = run.config, METHOD_NAMES[run.config.method]
    title = f"{method} on {config.data or 'the built-in clip set'}"
    report = Report(method, run.out / "report", title, run.config.to_values(), run.metrics.lines)
    report_frames(
        model, info, run.data.test, report,
        device=run.device, autocast=run.autocast, console=run.console, ranks=run.ranks,
    )  # fmt: skip
    run.console.print(f"run folder: {run.out}")

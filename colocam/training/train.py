"""Training from beginning to end: both stages in order, evaluation, report."""

from collections.abc import Mapping

import torch

from colocam.cam import ActivationMap
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo, load_checkpoint
from colocam.models.encoders import make_encoder
from colocam.models.weights import load_weights
from colocam.report.report import Report, report_frames
from colocam.runtime.device import seed_everything
from colocam.runtime.distribution import Ranks
from colocam.runtime.errors import UserError
from colocam.runtime.interruption import Interrupted, Interruption, catch_signals
from colocam.runtime.messages import print_unreadable
from colocam.training.classifier import BEST, ClassifierStage
from colocam.training.config import END_TO_END, Config
from colocam.training.estimate import print_estimate
from colocam.training.localizer import make_localizer_stage
from colocam.training.loop import Loop
from colocam.training.run import Run, open_run
from colocam.training.run_files import clear_folder, read_split, write_run_files
from colocam.training.state import STAGES, State, find_state, state_files

METHOD_NAMES = {"colocam": "CoLo-CAM", "tcam": "TCAM", "fcam": "F-CAM", "trcam": "TrCAM-V"}


def train(
    config: Config,
    ranks: Ranks,
    *,
    resume: bool = False,
    changed: Mapping[str, tuple[object, object]] | None = None,
) -> None:
    """Trains the stages of a configuration, evaluates the best checkpoint, and writes the report.

    Everything is written into the run folder `config.out`, which is claimed before (see
    `claim_folder`); results of an earlier run in it are deleted unless it is resumed.

    Args:
        config: configuration of the run.
        ranks: processes of the run.
        resume: whether to continue from the newest training state in the run folder, if any.
        changed: options that differ from those of the run to resume: name to (old, new).

    Raises:
        UserError: a mistake that the user can correct.
        Interrupted: a signal was received; the run can be resumed.
    """
    _check_weights(config, ranks, resume)
    continues = resume or config.stage == STAGES[1]
    split = read_split(config.out) if continues else None
    run = open_run(config, ranks, split)
    state = find_state(run, changed or {}) if resume else None
    _check_same_state(run, state)
    if state is not None and split is None and not run.data.has_split_files:
        run.note(
            "an earlier version began this run and stored no split: it is drawn from the "
            "videos that are in the folder now"
        )
    if state is None and resume:
        line = f"{run.out}: nothing to resume; starting a new run"
        run.console.print(line, soft_wrap=True)
    if state is not None and _is_finished(run, state):
        run.console.print(f"{run.out}: this run is finished")
        return
    seed_everything(config.seed)
    with catch_signals() as interruption:
        unreadable = _train_stages(run, state, interruption)
    print_unreadable(run.console, sorted(unreadable))
    _evaluate(run)


def _train_stages(run: Run, state: State | None, interruption: Interruption) -> set[str]:
    """Trains the stages that remain; returns the names of frames that could not be decoded."""
    config = run.config
    unreadable: set[str] = set()
    first = config.stages[0] if state is None else state.stage
    model, teacher = _first_model(run, first, state)
    _check_encoder(config, model)
    if state is None:
        print_estimate(run, model)
    _prepare_folder(run, state)  # after the checks: a mistake leaves an older run as it is
    if first == STAGES[0]:
        unreadable |= Loop(run, ClassifierStage(run, model), state, interruption).train()
        state = None
        if config.stage == "all":
            seed_everything(config.seed)  # the decoder does not depend on whether stage 1 was run
            run.ranks.wait()
            model, teacher = _load_classifiers(run)
    if config.stage != "classifier":
        stage = make_localizer_stage(run, model, teacher)
        unreadable |= Loop(run, stage, state, interruption).train()
    if number := max(run.ranks.gather(interruption.number)):  # received after the last step
        raise Interrupted(number)
    return unreadable


def _check_weights(config: Config, ranks: Ranks, resume: bool) -> None:
    """Checks that the initial weights can be had, before the data is opened or prepared."""
    has_state = resume and state_files(config.out / "checkpoints")
    if config.weights == "none" or config.stage == STAGES[1] or has_state:
        return  # they are not read
    with ranks.main_first():
        load_weights(make_encoder(config.encoder), config.encoder, config.weights)


def _first_model(run: Run, stage: str, state: State | None) -> tuple[Localizer, Localizer | None]:
    """Returns the model of the first stage to train, and the classifier that makes its seeds.

    A method that trains the encoder too starts stage 2 from a classifier with `--stage localizer`
    only; the state of its stage 2 holds all weights.
    """
    config = run.config
    from_weights = config.method in END_TO_END and (config.stage == "all" or state is not None)
    if stage == STAGES[0] or from_weights:
        return _make_model(run, state), None
    return _load_classifiers(run)


def _make_model(run: Run, state: State | None) -> Localizer:
    """Makes a model with the initial weights of the encoder; a state holds all weights."""
    config = run.config
    weights = config.weights if state is None else "none"
    with run.ranks.main_first():
        model = Localizer(config.encoder, len(run.data.classes), weights, pooling=config.pooling)
    return run.prepare_model(model)


def _load_classifiers(run: Run) -> tuple[Localizer, Localizer | None]:
    """Loads the classifier of stage 2, and the one that its CAMs are taken from if it differs."""
    chosen = run.config.classifier
    if chosen != "both":
        return _load(run, BEST[chosen], "classifier")[0], None
    model, _ = _load(run, BEST["classification"], "classifier")
    if run.seed_maps is not None:
        return model, None  # seeds are drawn from stored maps
    return model, _load(run, BEST["localization"], "classifier")[0]


def _load(run: Run, name: str, kind: str) -> tuple[Localizer, CheckpointInfo]:
    """Loads a checkpoint of the run.

    Raises:
        UserError: it cannot be used, or has another encoder or other classes than the run.
    """
    path = run.checkpoint(name)
    model, info = load_checkpoint(path, kind)
    if info.encoder != run.config.encoder:
        raise UserError(
            f"{path}: holds a {info.encoder}, but --encoder is {run.config.encoder}; "
            "give the same encoder, or train stage 1 again"
        )
    if info.classes != run.data.classes:
        raise UserError(
            f"{path}: was trained on the classes {', '.join(info.classes)}, the data has "
            f"{', '.join(run.data.classes)}; train stage 1 again"
        )
    return run.prepare_model(model), info


def _check_encoder(config: Config, model: Localizer) -> None:
    """Checks that the encoder can process frames of this size, and has the layer of the CAM."""
    model.encoder.check_side(config.crop)
    try:
        cam = ActivationMap(model, config.cam, config.cam_layer)
        if config.cam_layer == "last":
            return
        frame = torch.zeros(1, 3, config.crop, config.crop, device=model.encoder.mean.device)
        training, _ = model.training, model.eval()
        found = cam(frame, torch.zeros(1, dtype=torch.long, device=frame.device))
        model.train(training)
    except ValueError as error:
        raise UserError(f"--cam-layer {config.cam_layer}: {error}") from error
    if found.shape[1] != found.shape[2]:
        shape = tuple(found.shape[1:])
        raise UserError(
            f"--cam-layer {config.cam_layer}: its output has no channels first, a map of it would "
            f"be {shape}; choose another layer"
        )


def _check_same_state(run: Run, state: State | None) -> None:
    """Checks that all ranks resume from the same state: they must share the run folder.

    Otherwise they would wait for each other forever. A collective.
    """
    position = None if state is None else (state.stage, state.epoch, state.step)
    if len(set(run.ranks.gather(position))) > 1:
        raise UserError(
            f"--out {run.out}: the processes find different training states there; give a folder "
            "that all machines share"
        )


def _is_finished(run: Run, state: State) -> bool:
    """Returns whether all epochs are done and evaluated; the evaluation is written last."""
    config = run.config
    last = STAGES[0] if config.stage == "classifier" else STAGES[1]
    epochs = config.classifier_epochs if last == STAGES[0] else config.epochs
    done = state.stage == last and state.epoch >= epochs
    return done and (run.out / "report" / "evaluation.json").is_file()


def _prepare_folder(run: Run, state: State | None) -> None:
    """Makes the run folder and writes the configuration; removes what is written again later."""
    if run.ranks.main:
        try:
            clear_folder(run.out, run.config.stage, resumed=state is not None)
        except OSError as error:
            raise UserError(f"--out {run.out}: cannot be written ({error.strerror})") from error
        if state is None and run.config.stage == STAGES[1]:
            run.metrics.restore(run.metrics.read(STAGES[0]))
        write_run_files(run.out, run.config, run.split)
    if state is not None:
        run.metrics.restore(state.metrics)
        run.console.print(
            f"{run.out}: resuming {state.stage} at epoch {state.epoch + 1}, step {state.step + 1}",
            soft_wrap=True,
        )  # fmt: skip
    run.ranks.wait()


def _evaluate(run: Run) -> None:
    """Evaluates the best checkpoint on the test frames, and writes the report."""
    if run.config.stage == "classifier":
        model, info = _load(run, BEST[run.config.classifier], "classifier")
    else:
        model, info = _load(run, "localizer-best", "localizer")
    config, method = run.config, METHOD_NAMES[run.config.method]
    title = f"{method} on {config.data or 'the built-in clip set'}"
    report = Report(method, run.out / "report", title, config.to_values(), run.metrics.lines)
    report_frames(
        model, info, run.data.test, report,
        device=run.device, autocast=run.autocast, console=run.console, ranks=run.ranks,
    )  # fmt: skip
    run.console.print(f"run folder: {run.out}")

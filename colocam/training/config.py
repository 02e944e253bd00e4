"""The whole configuration of a run, its presets, and the command line derived from it."""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from colocam.runtime.entry import CommandParser
from colocam.runtime.errors import UserError


def _option(default: object, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on. Sizes, weights and σ_xy as in the papers, for 224×224."""

    preset: str = _option("", "settings to start from; the other options change single ones")
    data: Path | None = _option(None, "data folder; without it the built-in clip set")
    splits: Path | None = _option(None, "folder of split files; default: DATA/splits if there")
    out: Path | None = _option(None, "run folder (default: runs/PRESET)")
    stage: Literal["all", "classifier", "localizer"] = _option(
        "all", "which stage to run; 'localizer' takes the classifier from the run folder"
    )
    method: Literal["colocam", "tcam", "fcam"] = _option(
        "colocam",
        "colocam: all four terms; fcam: the per-frame terms only; tcam: those, with seeds from "
        "the maximum of the CAMs over a frame and the earlier ones of its sequence",
    )
    cam: Literal["layercam", "cam", "gradcam", "gradcam++", "smoothgradcam++", "xgradcam"] = (
        _option("layercam", "activation map that makes the seeds")
    )
    cam_layer: str = _option("last", "layer of the encoder that it is taken at, by its name")
    seed_maps: Path | None = _option(
        None, "folder of stored maps that make the seeds in the place of activation maps"
    )
    encoder: Literal["resnet50", "resnet18", "vgg16", "inceptionv3"] = _option(
        "resnet50", "backbone"
    )
    pooling: Literal["wgap", "gap", "max", "lse"] = _option(
        "wgap", "how the classifier pools its last feature map"
    )
    weights: str = _option("imagenet", "of the backbone: imagenet, none, or a file")
    classifier: Literal["localization", "classification", "both"] = _option(
        "localization",
        "which best classifier stage 2 builds on; both: encoder and head from the best by "
        "classification, seeds from the best by localization, as published",
    )
    device: Literal["auto", "cpu", "cuda"] = _option("auto", "where to compute")
    amp: Literal["auto", "off", "bf16", "fp16"] = _option(
        "auto", "mixed precision; auto: bf16 where the hardware computes in it, else fp16 on a GPU"
    )
    compile: Literal["auto", "on", "off"] = _option(
        "auto", "torch.compile of encoder and decoder; auto: on a GPU"
    )
    sync_batch_norm: Literal["on", "off"] = _option(
        "off", "batch statistics over all processes of a run, on GPUs"
    )
    deterministic: Literal["on", "off"] = _option(
        "off", "algorithms that give the same bits every time; slower on a GPU"
    )
    workers: int = _option(4, "processes that decode frames ahead")
    cache: Path | None = _option(
        None,
        "folder that keeps resized frames, so that each is decoded once, and what was found when "
        "videos were counted and cut",
    )
    cache_size: float = _option(100.0, "GB that --cache may take")
    cut_shots: Literal["on", "off"] = _option(
        "on", "cut long training videos of a plain folder into shots where the picture changes"
    )
    cut_over: int = _option(1000, "frames above which a video is long; 1000 are about 40 s")
    seed: int = _option(0, "source of every random draw")
    keep: int = _option(2, "training states kept to resume from, the newest")
    state_every: int = _option(
        0, "steps between training states within an epoch; 0: at the end of epochs only"
    )
    stop_after_skips: int = _option(
        10, "steps in a row whose gradient is not finite, after which the run stops"
    )
    tensorboard: Literal["on", "off"] = _option(
        "off", "write metrics for TensorBoard too (extra 'tensorboard')"
    )
    clip_set: Literal["default", "small", "large"] = _option(
        "default", "size of the built-in clip set"
    )
    clip_seed: int = _option(0, "seed of the built-in clip set")

    resize: int = _option(256, "side to which frames are resized for training")
    crop: int = _option(224, "side of the random crop, and of frames at evaluation")
    batch_size: int = _option(
        32,
        "frames a batch, over all processes of the run; it holds whole sequences, of tcam's it "
        "counts the last frames only: the others lend their CAMs",
    )
    accumulate: int = _option(1, "batches whose gradients make one step, both stages")
    frames: int = _option(4, "frames a sequence (n)")
    sampling: Literal["adjacent", "interval", "gaussian"] = _option(
        "adjacent", "how the frames of a sequence are drawn"
    )
    direction: Literal["before", "after", "both"] = _option(
        "before", "where a frame's neighbours lie that adjacent sampling takes with it"
    )
    frame_limit: float = _option(0.6, "share of a shot, around its middle, that may be drawn")

    classifier_epochs: int = _option(100, "epochs of stage 1")
    classifier_batch_size: int = _option(32, "frames a batch of stage 1, over all processes")
    classifier_lr: float = _option(0.001, "learning rate of stage 1")
    classifier_head_factor: float = _option(10.0, "learning rate of its head over the backbone's")
    classifier_decay_every: int = _option(15, "epochs between decays of stage 1's learning rate")
    epochs: int = _option(10, "epochs of stage 2")
    lr: float = _option(0.01, "learning rate of stage 2")
    decay_every: int = _option(5, "epochs between decays of stage 2's learning rate")
    decay: float = _option(0.9, "factor of a decay, both stages")
    momentum: float = _option(0.9, "Nesterov momentum, both stages")
    weight_decay: float = _option(1e-4, "both stages")
    evaluate_every: int = _option(1, "epochs between evaluations on validation, both stages")

    seed_scheme: Literal["published", "text"] = _option("published", "how seeds are drawn")
    seed_region: Literal["none", "all", "largest", "densest"] = _option(
        "largest",
        "where foreground seeds may lie: the whole frame, all above Otsu's threshold, or the "
        "largest or densest region above it",
    )
    seed_box: Literal["on", "off"] = _option("on", "the bounding box of that region instead")
    seed_pixels: int = _option(1000, "pixels drawn a side and frame, at 224×224")
    seed_foreground_share: float = _option(0.7, "strongest share of the region to draw from")
    seed_background_share: float = _option(0.1, "weakest share of the frame to draw from")

    tag_weighting: Literal["off", "weight", "discard"] = _option(
        "off",
        "how much a frame counts in stage 2, by the classifier's probability p of its video's "
        "tag: all alike, by p, or not at all below --tag-threshold",
    )
    tag_threshold: float = _option(0.5, "least p of a frame that is not discarded")

    pl_weight: float = _option(1.0, "weight of the partial cross-entropy")
    pl_first_epoch: int = _option(0, "its first epoch, counted from 0")
    pl_last_epoch: int | None = _option(None, "its last epoch")
    pl_ramp: float = _option(0.0, "epochs over which its weight grows from 0")
    crf_weight: float = _option(2e-9, "weight λ of the spatial CRF")
    crf_first_epoch: int = _option(0, "its first epoch, counted from 0")
    crf_last_epoch: int | None = _option(None, "its last epoch")
    crf_ramp: float = _option(0.0, "epochs over which its weight grows from 0")
    asc_weight: float = _option(0.01, "weight of the size barrier")
    asc_first_epoch: int = _option(0, "its first epoch, counted from 0")
    asc_last_epoch: int | None = _option(None, "its last epoch")
    asc_ramp: float = _option(0.0, "epochs over which its weight grows from 0")
    coloc_weight: float = _option(9.0, "λ_c under the adaptive weight, λ under the constant one")
    coloc_first_epoch: int = _option(0, "its first epoch, counted from 0")
    coloc_last_epoch: int | None = _option(None, "its last epoch")
    coloc_ramp: float = _option(0.0, "epochs over which its weight grows from 0")
    coloc_weighting: Literal["adaptive", "constant"] = _option(
        "adaptive", "adaptive: λ_c·R/|R| for each video; constant: λ·R"
    )
    energy_form: Literal["association", "cut"] = _option("association", "form of both CRF energies")
    sigma_rgb: float = _option(15.0, "colour bandwidth of both CRF terms, levels")
    sigma_xy: float = _option(100.0, "place bandwidth of the spatial CRF, pixels at 224×224")
    spatial_method: Literal["permutohedral", "dense"] = _option(
        "permutohedral", "filter of the spatial CRF"
    )
    joint_method: Literal["grid", "permutohedral", "dense"] = _option(
        "grid", "filter of the joint term"
    )

    def to_values(self) -> dict[str, Any]:
        """Every option by its name; paths as texts."""
        return json.loads(self.to_json())

    def to_json(self) -> str:
        """JSON that names every option."""
        return json.dumps(asdict(self), indent=1, default=str)


PER_FRAME = ("fcam", "tcam")  # methods without the joint term

# From scratch on two CPU cores. The joint term grows over two epochs: on untrained maps its full
# weight carries everything to one side.
_SMALL = {
    "encoder": "resnet18",
    "weights": "none",
    "workers": 0,
    "resize": 90,
    "crop": 80,
    "classifier_epochs": 14,
    "classifier_batch_size": 16,
    "classifier_lr": 0.02,
    "classifier_head_factor": 1.0,
    "classifier_decay_every": 2,
    "epochs": 7,
    "lr": 0.05,
    "decay_every": 1,
    "evaluate_every": 2,
    "coloc_weight": 5.0,
    "coloc_ramp": 2.0,
}
PRESETS: dict[str, dict[str, object]] = {
    "paper": {},
    "builtin": _SMALL,
    "builtin-cuda": _SMALL | {"resize": 256, "crop": 224, "workers": 8, "clip_set": "large"},
    "real-cpu": _SMALL
    | {"weights": "imagenet", "resize": 128, "crop": 112, "classifier_lr": 0.001, "lr": 0.01},
    "smoke": _SMALL
    | {
        "clip_set": "small",
        "resize": 72,
        "crop": 64,
        "classifier_epochs": 2,
        "epochs": 2,
        "evaluate_every": 1,
    },
}


@dataclass(frozen=True)
class Command:
    """What a command line of train.py asks for.

    Attributes:
        config: the run's whole configuration.
        resume: go on with the run in its folder.
        changed: options of a resumed run that the command line gives otherwise than it had them:
            name to (old, new).
    """

    config: Config
    resume: bool
    changed: dict[str, tuple[object, object]]


def parse_config(argv: Sequence[str] | None, cuda: bool) -> Config:
    """The configuration that a command line asks for, see `parse_command`."""
    return parse_command(argv, cuda).config


def parse_command(argv: Sequence[str] | None, cuda: bool) -> Command:
    """What a command line asks for.

    Options come from the preset, over them those of --config FILE or, with --resume, of the run
    in the folder, over them those of the command line.

    Args:
        argv: arguments without the program's name; None: those of this process.
        cuda: whether a GPU is there; decides the preset where none is given.

    Raises:
        SystemExit: 0 after --help.
        UserError: a bad argument, a value out of range, or a file that holds no configuration.
    """
    given = vars(_parser().parse_args(argv))
    file, resume = given.pop("config", None), given.pop("resume", False)
    if resume and file is not None:
        raise UserError("--resume: takes the configuration of the run; leave --config away")
    if file is not None and "preset" in given:
        raise UserError("--preset: stands in the file of --config; leave one of them away")
    stored: dict[str, object] = {} if file is None else _without_out(read_options(file))
    config = _config(given, stored, cuda)
    if file is not None and "out" not in given and config.out.resolve() == file.parent.resolve():
        raise UserError(f"--out: {config.out} holds the run of --config; give another folder")
    changed = {}
    path = config.out / "config.json"
    if resume and path.is_file():
        stored = read_options(path)
        config = _config(given, stored | {"out": config.out}, cuda)
        changed = {
            name: (value, getattr(config, name))
            for name, value in stored.items()
            if name in given and value != getattr(config, name)
        }
    _check(config)
    return Command(config, resume, changed)


def _config(given: dict[str, Any], stored: dict[str, Any], cuda: bool) -> Config:
    """Preset, stored options and given ones, each over the one before."""
    preset = given.get("preset", stored.get("preset"))
    if preset is None:
        preset = _default_preset("data" in given, cuda)
    if given.get("preset") not in (None, stored.get("preset")):
        stored = {}  # another preset starts anew
    config = replace(Config(preset=preset), **PRESETS[preset])
    config = replace(config, **{**stored, **given, "preset": preset})
    if config.out is None:
        config = replace(config, out=Path("runs") / preset)
    return config


def _without_out(options: dict[str, object]) -> dict[str, object]:
    """A run repeated from its configuration does not overwrite the run that it is of."""
    return {name: value for name, value in options.items() if name != "out"}


def read_options(path: Path) -> dict[str, object]:
    """The options in a config.json of a run; all of them, of the types that `Config` has.

    Raises:
        UserError: no such file, no JSON, an unknown option, or a value of a wrong kind.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); --config takes the config.json of a run"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no options; --config takes the config.json of a run")
    options = {option.name: option for option in fields(Config)}
    for name in values:
        if name not in options:
            raise UserError(f"{path}: unknown option {name!r}; written by another version?")
    if values.get("preset") not in [*PRESETS]:  # a list: what JSON holds may have no hash
        raise UserError(f"{path}: unknown preset {values.get('preset')!r}")
    return {name: _typed(path, options[name], value) for name, value in values.items()}


def _typed(path: Path, option: Field, value: object) -> object:
    """A value from JSON as the option's type."""
    if value is None and option.default is None:
        return None
    reading = _value(option.type)
    kind = reading.get("type", str)
    fits = isinstance(value, {Path: str, float: (int, float)}.get(kind, kind))
    if not fits or isinstance(value, bool) or value not in reading.get("choices", (value,)):
        raise UserError(f"{path}: {option.name} cannot be {value!r}")
    try:
        return kind(value)
    except OverflowError as error:
        raise UserError(f"{path}: {option.name} is too large") from error


def _default_preset(has_data: bool, cuda: bool) -> str:
    if has_data:
        return "paper" if cuda else "real-cpu"
    return "builtin-cuda" if cuda else "builtin"


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="train.py",
        description="Trains a video object localizer from class tags, and evaluates it.",
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the config.json of a run: repeat it, in a folder of its own",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in the folder --out where it stopped",
    )
    for option in fields(Config):
        flag = "--" + option.name.replace("_", "-")
        if option.name == "preset":
            parser.add_argument(flag, choices=sorted(PRESETS), help=option.metadata["help"])
        else:
            text = f"{option.metadata['help']} (paper: {option.default})"
            parser.add_argument(flag, help=text, **_value(option.type))
    return parser


def _value(kind: Any) -> dict[str, Any]:
    """How argparse reads a value of this type."""
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if isinstance(kind, UnionType):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    return {"type": kind, "metavar": {Path: "PATH", int: "N", float: "X"}.get(kind, "NAME")}


def _check(config: Config) -> None:
    positive = (
        "resize", "crop", "batch_size", "classifier_batch_size", "frames", "classifier_epochs",
        "classifier_lr", "classifier_decay_every", "epochs", "lr", "decay", "decay_every",
        "evaluate_every", "seed_pixels", "sigma_rgb", "sigma_xy", "accumulate", "keep",
        "stop_after_skips", "cache_size", "cut_over",
    )  # fmt: skip
    terms = [
        f"{term}_{what}"
        for term in ("pl", "crf", "asc", "coloc")
        for what in ("weight", "first_epoch", "last_epoch", "ramp")
    ]
    not_negative = (
        "workers", "seed", "clip_seed", "classifier_head_factor", "weight_decay", "state_every",
        *terms,
    )  # fmt: skip
    for name in positive:
        _require(config, name, "be greater than 0", lambda value: value > 0)
    for name in not_negative:
        _require(config, name, "not be negative", lambda value: value is None or value >= 0)
    _require(config, "tag_threshold", "lie in [0, 1]", lambda value: 0 <= value <= 1)
    for name in ("frame_limit", "seed_foreground_share", "seed_background_share"):
        _require(config, name, "lie in (0, 1]", lambda value: 0 < value <= 1)
    _require(config, "momentum", "lie between 0 and 1", lambda value: 0 < value < 1)
    if config.method == "tcam" and (config.sampling, config.direction) != ("adjacent", "before"):
        raise UserError(
            "--method tcam: takes a frame and the ones before it; leave --sampling adjacent and "
            "--direction before"
        )
    if config.cam == "cam" and config.cam_layer != "last":
        raise UserError(f"--cam-layer {config.cam_layer}: cam is defined at the last map only")
    if config.crop > config.resize:
        raise UserError(f"--crop {config.crop}: must not exceed --resize {config.resize}")
    if config.crop < 32:
        raise UserError(f"--crop {config.crop}: must be at least 32 for output stride 8")


def _require(config: Config, name: str, what: str, holds: Callable[[Any], bool]) -> None:
    value = getattr(config, name)
    if not holds(value) or value == math.inf:
        raise UserError(f"--{name.replace('_', '-')} {value}: must {what}")

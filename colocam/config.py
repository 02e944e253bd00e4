"""The whole configuration of a run, its presets, and the command line derived from it."""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from colocam.entry import CommandParser
from colocam.errors import UserError


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
    amp: Literal["auto", "on", "off"] = _option(
        "auto", "bfloat16 autocast; auto: where the hardware computes in it"
    )
    compile: Literal["auto", "on", "off"] = _option(
        "auto", "torch.compile of encoder and decoder; auto: on a GPU"
    )
    workers: int = _option(4, "processes that decode frames ahead")
    seed: int = _option(0, "source of every random draw")
    clip_set: Literal["default", "small", "large"] = _option(
        "default", "size of the built-in clip set"
    )
    clip_seed: int = _option(0, "seed of the built-in clip set")

    resize: int = _option(256, "side to which frames are resized for training")
    crop: int = _option(224, "side of the random crop, and of frames at evaluation")
    batch_size: int = _option(32, "frames a batch; it holds whole sequences")
    frames: int = _option(4, "frames a sequence (n)")
    sampling: Literal["adjacent", "interval", "gaussian"] = _option(
        "adjacent", "how the frames of a sequence are drawn"
    )
    direction: Literal["before", "after", "both"] = _option(
        "before", "where a frame's neighbours lie that adjacent sampling takes with it"
    )
    frame_limit: float = _option(0.6, "share of a shot, around its middle, that may be drawn")

    classifier_epochs: int = _option(100, "epochs of stage 1")
    classifier_batch_size: int = _option(32, "frames a batch of stage 1")
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


def parse_config(argv: Sequence[str] | None, cuda: bool) -> Config:
    """The configuration that a command line asks for.

    Args:
        argv: arguments without the program's name; None: those of this process.
        cuda: whether a GPU is there; decides the preset where none is given.

    Raises:
        SystemExit: 0 after --help.
        UserError: a bad argument, or a value out of range.
    """
    given = vars(_parser().parse_args(argv))
    preset = given.pop("preset", None) or _default_preset("data" in given, cuda)
    config = replace(Config(preset=preset), **PRESETS[preset])
    config = replace(config, **given)
    if config.method in PER_FRAME:
        config = replace(config, coloc_weight=0.0)
    if config.out is None:
        config = replace(config, out=Path("runs") / preset)
    _check(config)
    return config


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
        "evaluate_every", "seed_pixels", "sigma_rgb", "sigma_xy",
    )  # fmt: skip
    terms = [
        f"{term}_{what}"
        for term in ("pl", "crf", "asc", "coloc")
        for what in ("weight", "first_epoch", "last_epoch", "ramp")
    ]
    not_negative = (
        "workers", "seed", "clip_seed", "classifier_head_factor", "weight_decay", *terms,
    )  # fmt: skip
    for name in positive:
        _require(config, name, "be greater than 0", lambda value: value > 0)
    for name in not_negative:
        _require(config, name, "not be negative", lambda value: value is None or value >= 0)
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

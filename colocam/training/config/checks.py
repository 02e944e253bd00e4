"""Checks of a configuration: ranges of values, and options that exclude each other."""

import math
from collections.abc import Callable
from typing import Any

from colocam.models.encoders import KNOWN, is_known
from colocam.runtime.device import check_seed
from colocam.runtime.errors import UserError
from colocam.training.config.options import END_TO_END, Config

_POSITIVE = (
    "resize", "crop", "batch_size", "classifier_batch_size", "frames", "classifier_epochs",
    "classifier_lr", "classifier_decay_every", "epochs", "lr", "decay", "decay_every",
    "evaluate_every", "seed_pixels", "accumulate", "keep",
    "stop_after_skips", "cache_size", "cut_over", "epoch_steps", "encoder_lr",
)  # fmt: skip
_NOT_NEGATIVE = (
    "workers", "classifier_head_factor", "weight_decay", "state_every",
    *(
        f"{term}_{setting}"
        for term in ("pl", "crf", "asc", "coloc")
        for setting in ("weight", "first_epoch", "last_epoch", "ramp")
    ),
)  # fmt: skip


def check_config(config: Config) -> None:
    """Checks ranges of values, and options that exclude each other.

    Raises:
        UserError: an invalid value; the message names its option.
    """
    for name in _POSITIVE:
        _require(config, name, "be greater than 0", lambda value: value > 0)
    for name in _NOT_NEGATIVE:
        _require(config, name, "not be negative", lambda value: value is None or value >= 0)
    check_seed("--seed", config.seed)
    check_seed("--clip-seed", config.clip_seed)
    _require(config, "initial_foreground", "be in [0, 1)", lambda value: 0 <= value < 1)
    if config.classifier_evaluate_every is not None:
        _require(config, "classifier_evaluate_every", "be greater than 0", lambda value: value > 0)
    for name in ("frame_limit", "seed_foreground_share", "seed_background_share"):
        _require(config, name, "be in (0, 1]", lambda value: 0 < value <= 1)
    for name in ("sigma_rgb", "sigma_xy"):
        _require(config, name, "be in [0.1, 10000]", lambda value: 0.1 <= value <= 1e4)
    _require(config, "joint_feature_sigma", "be at least 0.1", lambda value: value >= 0.1)
    _require(config, "tag_threshold", "be in [0, 1]", lambda value: 0 <= value <= 1)
    _require(config, "momentum", "be between 0 and 1", lambda value: 0 < value < 1)
    if not is_known(config.encoder):
        raise UserError(f"--encoder: unknown {config.encoder!r}; known: {KNOWN}")
    if (
        config.weights == "none"
        and config.classifier_layers != "all"
        and "classifier" in config.stages
    ):
        raise UserError(
            f"--weights none: with --classifier-layers {config.classifier_layers} the encoder "
            "would stay random; add --classifier-layers all"
        )
    if config.method == "tcam" and (config.sampling, config.direction) != ("adjacent", "before"):
        raise UserError("--method tcam: requires --sampling adjacent and --direction before")
    if config.method in END_TO_END and "localizer" in config.stages:
        _check_end_to_end(config)
    if config.cam == "cam" and config.cam_layer != "last":
        raise UserError(
            f"--cam-layer {config.cam_layer}: --cam cam is computed at the last map only"
        )
    if config.crop > config.resize:
        raise UserError(f"--crop {config.crop}: must not exceed --resize {config.resize}")
    if config.crop < 32:
        raise UserError(f"--crop {config.crop}: must be at least 32 for output stride 8")


def _check_end_to_end(config: Config) -> None:
    """Checks a method whose seeds and frame weights cannot come from a trained classifier."""
    if config.seed_maps is None:
        raise UserError(
            f"--method {config.method}: has no classifier to draw seeds from; give maps of the "
            "training frames with --seed-maps DIR"
        )
    if config.tag_weighting != "off":
        raise UserError(
            f"--tag-weighting {config.tag_weighting}: needs a trained classifier, which --method "
            f"{config.method} does not have; omit it"
        )


def _require(config: Config, name: str, what: str, holds: Callable[[Any], bool]) -> None:
    value = getattr(config, name)
    if not holds(value) or value == math.inf:
        raise UserError(f"--{name.replace('_', '-')} {value}: must {what}")

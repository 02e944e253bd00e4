"""Presets: sets of defaults of the options."""

from typing import Any

# Training from scratch on two CPU cores. The weight of the joint term grows over two epochs: at
# full weight it drives untrained maps to all foreground or all background.
_SMALL: dict[str, Any] = {
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
# Videos of one's own, tens to hundreds, with an encoder trained on ImageNet. Stage 1 trains the
# head alone: on few videos, an encoder that is trained further learns their backgrounds. Epochs
# have a number of steps that does not depend on the number of videos. bench/real.py measures it.
_REAL: dict[str, Any] = {
    "classifier_layers": "head",
    "classifier_epochs": 20,
    "classifier_lr": 0.02,
    "classifier_head_factor": 1.0,
    "classifier_evaluate_every": 20,
    "epoch_steps": 50,
    "epochs": 8,
    "lr": 0.03,
    "decay_every": 2,
    "decay": 0.5,
    "evaluate_every": 2,
    "seed_foreground_share": 0.3,
    "seed_background_share": 0.3,
    "initial_foreground": 0.1,
    "joint_features": "both",
}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "builtin": _SMALL,
    "builtin-cuda": _SMALL | {"resize": 256, "crop": 224, "workers": 8, "clip_set": "large"},
    "real": _REAL | {"workers": 8},
    "real-cpu": _REAL
    | {
        "encoder": "timm:tf_efficientnet_lite0:half",
        "workers": 0,
        "amp": "off",  # bfloat16 is slower for depthwise convolutions on many CPUs
        "classifier_batch_size": 16,
        "batch_size": 8,
    },
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


def default_preset(has_data: bool, cuda: bool) -> str:
    """Preset of a run without --preset: by whether it has --data and a GPU."""
    if has_data:
        return "real" if cuda else "real-cpu"
    return "builtin-cuda" if cuda else "builtin"

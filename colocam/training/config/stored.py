"""Reading of the options in the config.json of a run."""

import json
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from colocam.models.encoders import is_known
from colocam.runtime.errors import UserError
from colocam.training.config.options import Config, choices, value_type
from colocam.training.config.presets import PRESETS

ADDED: dict[str, Any] = {
    "classifier_layers": "all",
    "classifier_evaluate_every": None,
    "epoch_steps": 1,
    "encoder_lr": 0.001,
    "file_order": "name",
    "initial_foreground": 0.0,
    "joint_features": "color",
    "joint_feature_sigma": 0.5,
}
"""Options that config.json of earlier versions lacks, with the values that they had implicitly; in
a file with some options only, those of the preset hold."""


def read_options(path: Path) -> dict[str, Any]:
    """Options in the config.json of a run, with the types of `Config`.

    Raises:
        UserError: the file is missing or not JSON, or has an unknown option or an invalid value.
    """
    try:
        values = json.loads(path.read_bytes())  # in any Unicode encoding, with a byte order mark
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); --config takes the config.json of a run"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: contains no options; --config takes the config.json of a run")
    options = {option.name: option for option in fields(Config)}
    for name in values:
        if name not in options:
            raise UserError(f"{path}: unknown option {name!r}; written by another version?")
    if values.get("preset") not in [*PRESETS]:  # a list, since JSON values may be unhashable
        raise UserError(f"{path}: unknown preset {values.get('preset')!r}")
    if options.keys() - values.keys() <= ADDED.keys():  # all options of an earlier version
        values = ADDED | values
    return {name: _typed(path, options[name], value) for name, value in values.items()}


def _typed(path: Path, option: Field[Any], value: object) -> object:
    """A JSON value converted to the type of its option."""
    if value is None and option.default is None:
        return None
    kind, allowed = value_type(option), choices(option)
    json_types: dict[type, tuple[type, ...]] = {Path: (str,), float: (int, float)}
    if option.name == "encoder" and isinstance(value, str) and not is_known(value):
        raise UserError(f"{path}: encoder cannot be {value!r}")
    valid = isinstance(value, json_types.get(kind, (kind,))) and not isinstance(value, bool)
    if not valid or (allowed is not None and value not in allowed):
        raise UserError(f"{path}: {option.name} cannot be {value!r}")
    try:
        return kind(value)
    except OverflowError as error:
        raise UserError(f"{path}: {option.name} is too large") from error

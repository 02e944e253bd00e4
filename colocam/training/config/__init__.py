"""Configuration of a training run.

- `options`: the options, `Config`
- `presets`: sets of defaults, and which one is the default
- `checks`: ranges of values
- `stored`: config.json of a run
"""

from colocam.training.config.checks import check_config
from colocam.training.config.options import END_TO_END, PER_FRAME, Config, choices, value_type
from colocam.training.config.presets import PRESETS, default_preset
from colocam.training.config.stored import read_options

__all__ = [
    "END_TO_END",
    "PER_FRAME",
    "PRESETS",
    "Config",
    "check_config",
    "choices",
    "default_preset",
    "read_options",
    "value_type",
]

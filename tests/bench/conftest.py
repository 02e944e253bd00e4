"""Fixtures that the tests of the benches share."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import train_step
from colocam.data.layouts.builtin import ClipSet, write_clip_set
from colocam.runtime.distribution import ALONE
from colocam.training.run import open_run
from lib import (
    floor,
    timing,
)
from lib.step import input as step_input

CLIPS = ClipSet(
    width=72, height=54, videos=(2, 1, 1), shots=(1, 1), frames=(9, 10), long_frames=(9, 10)
)


@pytest.fixture(scope="session")
def small_rates():
    """Rates of small arrays instead of large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(floor.LARGE, "cpu", (64, (1, 16, 8)))
        patch.setitem(timing.COPY_BYTES, "cpu", 2**20)
        yield


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    return write_clip_set(tmp_path_factory.mktemp("bench") / "clips", CLIPS)


@pytest.fixture(scope="session")
def tiny_step() -> list[str]:
    """Arguments of bench/train_step.py for a step that takes no time."""
    return [
        *("--device", "cpu", "--encoder", "resnet18", "--size", "64", "--batch-size", "8"),
        *("--amp", "off", "--seconds", "0.001"),
    ]


@pytest.fixture(scope="session")
def open_tiny_run(tiny_step) -> Callable:
    """A run of bench/train_step.py with further arguments; its batch; ms between batches."""

    def open_it(*arguments):
        options = train_step._parse([*tiny_step, *arguments])
        with step_input.data_folder(options.data, options.video) as folder:
            config = train_step._config(options, folder, torch.device("cpu"))
            run = step_input.enough_shots(open_run(config, ALONE))
            return run, *step_input.time_loader(run)

    return open_it


@pytest.fixture(scope="session")
def tiny_batch(open_tiny_run, clips):
    """A run and a batch of it."""
    return open_tiny_run("--data", str(clips))[:2]

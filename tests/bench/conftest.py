"""Fixtures shared by the tests of the benchmarks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib import roofline, timing
from lib.crf import table as crf_table
from lib.step import input as step_input

import train_step
from colocam.cli.train import open_run
from colocam.data.layouts.builtin import write_clip_set
from colocam.data.layouts.builtin_settings import ClipSet
from colocam.runtime.distribution import ALONE

CLIPS = ClipSet(
    width=72, height=54, videos=(2, 1, 1), shots=(1, 1), frames=(9, 10), long_frames=(9, 10)
)


@pytest.fixture(scope="session")
def small_rates():
    """Rates are measured on small arrays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(roofline.PROBE_SIZES, "cpu", (64, (1, 16, 8)))
        patch.setitem(timing.COPY_BYTES, "cpu", 2**20)
        yield


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """A data folder with four classes of two training shots."""
    return write_clip_set(tmp_path_factory.mktemp("bench") / "clips", CLIPS)


@pytest.fixture
def error_of(capsys) -> Callable:
    """Runs a command that must fail with exit status 2 and one line; returns that line.

    `warned`: other lines may precede it.
    """

    def run(main, argv, warned=False):
        assert main(argv) == 2
        error = capsys.readouterr().err
        *others, line = filter(None, error.splitlines())  # progress bars leave empty lines
        assert warned or not others
        assert line.startswith("error: ")
        assert error.count("error") == 1
        return line

    return run


@pytest.fixture
def check_unwritable_result(error_of, tmp_path) -> Callable:
    """Checks that a result file that cannot be written is an error before anything is measured."""

    def check(main, argv):
        (tmp_path / "file").write_text("")
        for name in ("file/result.json", "result.csv"):
            line = error_of(main, [*argv, "--json", str(tmp_path / name)])
            assert line.startswith(f"error: --json {tmp_path / name}: ")

    return check


@pytest.fixture(scope="session")
def read_table() -> Callable:
    """Reads the cells of the Markdown table beside a JSON file, without the line below the head."""

    def read(path):
        lines = path.with_suffix(".md").read_text().splitlines()
        rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
        head, _, *body = ([cell.strip() for cell in row] for row in rows)
        return [head, *body]

    return read


@pytest.fixture(scope="session")
def make_crf_row() -> Callable:
    """Creates a row of bench/crf_vs_n.py; other fields are None."""

    def make(n, method, forward_ms, forward_backward_ms=None):
        blank = dict.fromkeys(crf_table.Row.__dataclass_fields__)
        given = {"n": n, "term": "joint", "method": method, "forward_ms": forward_ms}
        return crf_table.Row(**{**blank, **given, "forward_backward_ms": forward_backward_ms})

    return make


@pytest.fixture(scope="session")
def tiny_step() -> list[str]:
    """Arguments of bench/train_step.py for a small step."""
    return [
        *("--device", "cpu", "--encoder", "resnet18", "--size", "64", "--batch-size", "8"),
        *("--amp", "off", "--seconds", "0.001"),
    ]


@pytest.fixture(scope="session")
def open_tiny_run(tiny_step) -> Callable:
    """Opens a run of bench/train_step.py: run, batch, ms between batches."""

    def open_it(*arguments):
        options = train_step._parse([*tiny_step, *arguments])
        with step_input.data_folder(options.data, options.video) as folder:
            config = train_step._config(options, folder, torch.device("cpu"))
            run = step_input.enough_shots(open_run(config, ALONE))
            return run, *step_input.time_loader(run)

    return open_it


@pytest.fixture(scope="session")
def tiny_batch(open_tiny_run, clips):
    """A run, and a batch of it."""
    return open_tiny_run("--data", str(clips))[:2]

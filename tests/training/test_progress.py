"""Printed progress of training."""

import io

import pytest
from rich.console import Console

from colocam.training.progress import print_epoch, step_bar

VALUES = ["cross-entropy 2.394", "localization (val) 20.8 %", "seed_cam (val) 25.0 %", "2 frames/s"]


def printed(width):
    console = Console(file=io.StringIO(), width=width)
    print_epoch(console, "classifier   1/2", VALUES)
    return console.file.getvalue()


def test_an_epoch_is_one_line_if_it_fits():
    assert printed(10_000) == "  ".join(["classifier   1/2", *VALUES]) + "\n"


@pytest.mark.parametrize("width", [30, 40, 80])
def test_an_epoch_is_wrapped_between_values(width):
    lines = printed(width).splitlines()
    assert all(len(line) <= width for line in lines)
    assert len(lines) > 1
    for value in VALUES:
        assert sum(value in line for line in lines) == 1
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize(("width", "losses"), [(40, False), (80, False), (140, True)])
def test_the_bar_shows_losses_in_a_wide_terminal_only(width, losses):
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    with step_bar(console) as bars:
        bars.add_task("localizer 1/7", total=10, losses="total -0.420", rate="12 frames/s")
        bars.refresh()
    text = console.file.getvalue()
    assert "localizer 1/7" in text
    assert "0/10" in text
    assert ("total -0.420" in text) == losses

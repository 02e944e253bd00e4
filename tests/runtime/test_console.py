"""Console of the commands: a file gets plain lines, a terminal the progress bar."""

import io

import pytest
from rich.console import Console

from colocam.runtime.console import make_console, progress_bar

LONG = "classifier   1/2  " + "loss 0.123  " * 30


def test_lines_in_a_pipe_are_not_wrapped_and_have_no_control_codes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    console = make_console()
    with progress_bar(console) as bar:
        task = bar.add_task("evaluating", total=3)
        bar.advance(task)
        console.print(LONG, style="yellow")
        bar.advance(task)
    with console.status("opening the data"):
        console.print("end")
    assert capsys.readouterr().out == f"{LONG}\nend\n"


def test_a_quiet_console_prints_nothing(capsys):
    make_console(quiet=True).print(LONG)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("width", [30, 40, 80])
def test_the_progress_bar_of_a_terminal_has_complete_counts(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    with progress_bar(console) as bar:
        task = bar.add_task("evaluating", total=1234)
        bar.update(task, completed=1000)
        bar.refresh()
    text = console.file.getvalue()
    assert "1000/1234" in text
    assert "…" not in text
    assert ("━" in text) == (width >= 60)

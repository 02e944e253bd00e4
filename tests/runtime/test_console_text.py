"""What is printed is text: no markup, no emoji codes, whatever paths and names contain."""

import ast
import io
from pathlib import Path

import pytest

from colocam.cli.localize import main as localize
from colocam.cli.train import main as train
from colocam.runtime.console import (
    TextConsole,
    make_console,
    print_error,
    progress_bar,
    text_column,
)
from colocam.runtime.messages import print_unreadable

ROOT = Path(__file__).resolve().parents[2]
PRINTING = ROOT / "colocam/runtime/console.py"
HOSTILE = "run [red] 1", "run [/a] 1", "[bold]x[/bold]", ":smile:", "\\[x]", "[link=file:///]y"


def calls():
    """(file, name that is called, keywords) of every call in the package, printing aside."""
    for file in sorted((ROOT / "colocam").rglob("*.py")):
        if file == PRINTING:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else None
                name = node.func.id if isinstance(node.func, ast.Name) else name
                yield file.relative_to(ROOT), name, {k.arg: k.value for k in node.keywords}


def test_consoles_and_progress_bars_are_made_in_one_place():
    """There they are told that text is not markup."""
    for file, name, keywords in calls():
        assert name not in ("Console", "TextColumn", "Live", "Status", "track"), file
        assert name != "Progress" or "console" not in keywords, file


def test_no_print_reads_markup():
    for file, name, keywords in calls():
        assert name not in ("from_markup", "render_markup", "set_spinner"), file
        assert not {"markup", "emoji"} & {*keywords}, file


def test_every_line_goes_through_the_console():
    """Python's print does not stand a closed pipe; the help is printed before there is one."""
    for file in sorted((ROOT / "colocam").rglob("*.py")):
        names = [
            node.func.id
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        allowed = (PRINTING, ROOT / "colocam/cli/options.py")
        assert "print" not in names or file in allowed, file


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("terminal", [False, True])
def test_lines_progress_and_status_show_text_as_it_is(text, terminal):
    console = TextConsole(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
    console.print(text)
    console.print(f"warning: {text}", style="yellow", soft_wrap=True)
    print_unreadable(console, [text])
    column = text_column("{task.fields[rate]}")
    with progress_bar(console, column) as bar:
        bar.add_task(text, total=2, rate=f"rate {text}")
    with console.status(f"reading {text}"):
        pass
    printed = console.file.getvalue()
    assert printed.startswith(f"{text}\nwarning: {text}\nwarning: {text}: cannot be decoded")
    if terminal:
        assert f"rate {text}" in printed
        assert f"reading {text}" in printed


def test_the_console_of_the_commands_reads_no_markup(capsys):
    make_console().print(" ".join(HOSTILE))
    assert capsys.readouterr().out == " ".join(HOSTILE) + "\n"
    print_error(HOSTILE[1])
    assert capsys.readouterr().err == f"{HOSTILE[1]}\n"


def test_brackets_in_the_paths_of_a_run(tiny_run, tmp_path, capsys):
    out = tmp_path / "run [red] [" / "a] :smile: 1"
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(out)]
    assert train(argv) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"run folder: {out}"
    assert train([*argv, "--resume"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{out}: this run is finished"


def test_brackets_in_the_paths_of_videos_and_results(tiny_run, tmp_path, write_video, capsys):
    video = write_video(tmp_path / "[" / "b] [red].mp4", 3)
    out = tmp_path / "[" / "c]"
    argv = [video, "--ckpt", tiny_run.checkpoint("localizer-best"), "--out", out]
    assert localize([*map(str, argv), "--device", "cpu", "--overlay", "off"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{video}: 3 frames in ")
    assert lines[0].endswith(f": {out / 'b] [red].csv'}")
    assert lines[1] == f"{out / 'boxes.json'}: 3 frames"

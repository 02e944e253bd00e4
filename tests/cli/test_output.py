"""Output of the commands in a pipe and in a narrow terminal."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from colocam.cli.train import main as train

ROOT = Path(__file__).resolve().parents[2]
NUMBER = r"\d+\.\d"


def in_pipe(*argv):
    """Lines that a command writes to a pipe."""
    done = subprocess.run(
        [sys.executable, *map(str, argv)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return checked(done.stdout)


def checked(text):
    """Lines without blank ones, control codes and carriage returns."""
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    assert all(line.strip() for line in lines)
    return lines


def in_terminal(columns, *argv):
    """Text that a command writes to a terminal of this width, without control codes."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, *map(str, argv)],
        cwd=ROOT, stdin=other, stdout=other, stderr=other, env=env | {"TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(other)
        text = b""
        try:
            while part := os.read(main, 4096):
                text += part
        except OSError:  # the end of a terminal
            pass
    os.close(main)
    assert process.returncode == 0, text
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode()).replace("\r\n", "\n")


@pytest.fixture
def evaluation(tiny_run):
    ckpt = tiny_run.checkpoint("localizer-best")
    return ["evaluate.py", "--ckpt", ckpt, "--data", tiny_run.data, "--device", "cpu"]


def test_training_in_a_pipe_prints_one_line_per_epoch(tiny_run, tmp_path, capsys):
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(tmp_path / "run")]
    assert train(argv) == 0
    lines = checked(capsys.readouterr().out)
    epochs = [line for line in lines if re.match(r"(classifier|localizer) +\d+/\d+  ", line)]
    assert len(epochs) == 2
    assert all(line.endswith(" frames/s") for line in epochs)
    assert max(map(len, epochs)) > 100
    assert lines[-1] == f"run folder: {tmp_path / 'run'}"


def test_evaluation_in_a_pipe_has_complete_tables(evaluation):
    lines = in_pipe(*evaluation)
    assert any(re.search(rf"mean .* {NUMBER} .* {NUMBER} ", line) for line in lines)
    assert lines[0] == "CorLoc, IoU 0.5, %"


def test_evaluation_in_a_terminal_of_40_columns_has_complete_numbers(evaluation):
    text = in_terminal(40, *evaluation)
    assert "…" not in text
    table = text[text.index("CorLoc, IoU 0.5, %") :]
    assert all(len(line) <= 40 for line in table.splitlines())
    assert len(re.findall(rf"mean .*{NUMBER}.*{NUMBER}", table)) == 1


def test_localization_in_a_pipe_prints_one_line_per_video(tiny_run, write_video, tmp_path):
    videos = [write_video(tmp_path / name, 3) for name in ("a.mp4", "b.mp4")]
    ckpt, out = tiny_run.checkpoint("localizer-best"), tmp_path / "out"
    lines = in_pipe(
        "-m", "colocam.localize", *videos, "--ckpt", ckpt, "--out", out, "--device", "cpu"
    )
    lines = [line for line in lines if not line.startswith("note: ")]
    assert [line.split(": ")[0] for line in lines] == [*map(str, videos), str(out / "boxes.json")]


def test_localization_in_a_terminal_of_40_columns_leaves_no_progress_bar(
    tiny_run, write_video, tmp_path
):
    ckpt, video = tiny_run.checkpoint("localizer-best"), write_video(tmp_path / "a.mp4", 3)
    argv = [video, "--ckpt", ckpt, "--out", tmp_path / "out", "--device", "cpu"]
    text = in_terminal(40, "-m", "colocam.localize", *argv)
    assert "boxes.json: 3 frames" in text
    assert "…" not in text


@pytest.mark.parametrize("command", ["train", "evaluate", "localize"])
def test_a_command_whose_output_nobody_reads_writes_its_files(
    command, tiny_run, evaluation, write_video, tmp_path
):
    out, data = tmp_path / "out", ["--data", tiny_run.data]
    argv = {
        "train": ["train.py", *tiny_run.arguments, *data, "--out", out],
        "evaluate": [*evaluation, "--json", out / "metrics.json"],
        "localize": ["-m", "colocam.localize", write_video(tmp_path / "a.mp4", 3), *evaluation[1:3],
                     "--device", "cpu", "--out", out],
    }  # fmt: skip
    wanted = {
        "train": "report/evaluation.json", "evaluate": "metrics.json", "localize": "boxes.json"
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, *map(str, argv[command])],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert json.loads((out / wanted[command]).read_text())


def test_help_in_a_terminal_of_40_columns_fits():
    text = in_terminal(40, "train.py", "--help")
    assert all(len(line) <= 40 for line in text.splitlines())

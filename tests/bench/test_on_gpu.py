"""bench/on_gpu.sh: output as it comes, one archive of all results, limits under ten minutes.

The programs that it calls are replaced by stubs in PATH.
"""

import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "on_gpu.sh"
RUNS = [("tests", "crf"), ("train",), ("inference",)]
TEN_MINUTES = 600
PYTHON = """#!/usr/bin/env bash
# A benchmark that writes its rows as it goes, and ends when `go` exists or is interrupted.
trap 'exit 130' INT
case "$*" in *"import colocam.kernels"* | *"import xdist"*) exit 0 ;; esac
command="$*"
while [ $# -gt 0 ]; do
    [ "$1" = --json ] && echo "row" >"$2"
    shift
done
echo "started $command"
until [ -e "$STUBS/go" ] || [ ! -d "$STUBS" ]; do sleep 0.05; done
"""

pytestmark = pytest.mark.skipif(shutil.which("timeout") is None, reason="needs GNU coreutils")


@pytest.fixture
def stubs(tmp_path):
    """Folder of stub programs; commands end at once where it holds a file `go`."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    programs = {"python3": PYTHON, "nvidia-smi": "#!/bin/sh\necho 'a GPU, 1.0, 2 MiB'\n"}
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (tmp_path / "clip.mp4").write_bytes(b"")
    return folder


def start(stubs, *arguments, **variables):
    """The script as a process, its output in a pipe."""
    names = ("OUT", "LIMIT", "COLOCAM_SHARED")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    path = f"{stubs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [SCRIPT, *map(str, arguments)],
        env=environment | {"PATH": path, "STUBS": str(stubs)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_until(process, text):
    """Lines of the output up to the one that holds a text."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} not in {lines}")


def archived(folder):
    """Contents of the only archive in a folder, by the names of the files."""
    (path,) = folder.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = [member for member in archive if member.isfile()]
        return {Path(m.name).name: archive.extractfile(m).read().decode() for m in files}


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("steps", RUNS, ids="-".join)
def test_a_run_leaves_one_archive_of_every_result_and_log(stubs, tmp_path, steps):
    (stubs / "go").touch()
    process = start(stubs, tmp_path / "clip.mp4", tmp_path / "out", *steps)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    commands = re.findall(r"^== (\S+) \(at most (\d+) s\): (.*)$", output, re.MULTILINE)
    files = archived(tmp_path / "out")
    assert {f"{name}.log" for name, *_ in commands} <= set(files)
    for name, _, command in commands:
        assert "started" in files[f"{name}.log"]
        if "--json" in command and "/bench/" in command:
            assert files[f"{name}-gpu.json"] == "row\n"
    assert "a GPU" in files["gpu.txt"]
    assert len(list((tmp_path / "out").iterdir())) <= 8


@pytest.mark.parametrize("steps", RUNS, ids="-".join)
def test_limits_of_a_run_add_up_to_less_than_ten_minutes(stubs, tmp_path, steps):
    (stubs / "go").touch()
    process = start(stubs, tmp_path / "clip.mp4", tmp_path / "out", *steps, LIMIT="1200")
    output, _ = process.communicate(timeout=120)
    limits = [int(seconds) for seconds in re.findall(r"\(at most (\d+) s\)", output)]
    assert limits
    assert max(limits) <= 280
    install, kill = 30, 5
    assert install + sum(limits) + kill * len(limits) < TEN_MINUTES


def test_the_run_of_training_trains_evaluates_and_localizes(stubs, tmp_path):
    (stubs / "go").touch()
    process = start(stubs, tmp_path / "clip.mp4", tmp_path / "out", "train")
    output, _ = process.communicate(timeout=120)
    for command in (
        "train.py --preset smoke --device cuda --compile off",
        "train.py --preset smoke --device cuda --compile on",
        "evaluate.py --ckpt",
        "-m colocam.localize",
        "bench/train_step.py",
    ):
        assert command in output


def test_output_appears_before_the_end(stubs, tmp_path):
    process = start(stubs, tmp_path / "clip.mp4", tmp_path / "out", "crf")
    lines = read_until(process, "started bench/crf_vs_n.py")
    assert f"clip: {tmp_path / 'clip.mp4'}\n" in lines
    assert process.poll() is None
    (stubs / "go").touch()
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_rows_so_far_stand_whatever_ends_the_script(stubs, tmp_path, how):
    process = start(stubs, tmp_path / "clip.mp4", tmp_path / "out", "crf")
    read_until(process, "started bench/crf_vs_n.py")
    process.send_signal(how)
    process.wait(timeout=60)
    assert process.returncode == (-how if how == signal.SIGKILL else 128 + how)
    wait_for(lambda: any((tmp_path / "out").glob("*.tar.gz")))
    wait_for(lambda: archived(tmp_path / "out").get("crf_vs_n-gpu.json") == "row\n")
    (stubs / "go").touch()  # ends what a killed script left running


def test_a_command_that_takes_too_long_is_interrupted_and_the_next_begins(stubs, tmp_path):
    process = start(stubs, tmp_path / "clip.mp4", tmp_path / "out", "tests", "crf", LIMIT="1")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "== tests: exit status" in output
    assert "== crf_vs_n (at most 1 s)" in output
    assert archived(tmp_path / "out")["crf_vs_n-gpu.json"] == "row\n"


def test_the_folder_is_that_of_the_variable_where_none_is_given(stubs, tmp_path):
    (stubs / "go").touch()
    process = start(stubs, tmp_path / "clip.mp4", "crf", OUT=str(tmp_path / "kept"))
    process.communicate(timeout=60)
    assert archived(tmp_path / "kept")["crf_vs_n-gpu.json"] == "row\n"


def test_clips_are_found_in_the_shared_folder(stubs, tmp_path):
    (stubs / "go").touch()
    process = start(stubs, "clip.mp4", tmp_path / "out", "crf", COLOCAM_SHARED=str(tmp_path))
    output, _ = process.communicate(timeout=60)
    assert f"clip: {tmp_path / 'clip.mp4'}" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.mp4", "{}/out"], "VIDEO nothing.mp4: no such file"),
        ([], "VIDEO: missing"),
        (["{}/clip.mp4", "{}/out", "fly"], "fly: no such step; there are tests, crf, train"),
    ],
)
def test_a_mistake_ends_with_one_line_and_nothing_written(stubs, tmp_path, arguments, message):
    process = start(stubs, *(text.format(tmp_path) for text in arguments))
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith(f"error: {message}")
    assert len(errors.splitlines()) == 1
    assert output == ""
    assert not (tmp_path / "out").exists()

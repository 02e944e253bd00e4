"""A run that was killed, stopped or met a full disk resumes to the result of a whole run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from colocam.runtime import interruption

STEP = "colocam.training.loop:Loop._step"  # 2 epochs of 3 (classifier), 2 epochs of 4 (localizer)
SAVE = "colocam.training.loop:write_state"  # once per epoch
LOG = "colocam.training.metrics:Metrics.flush"  # once per epoch
END = "colocam.data.loading.loader:SequenceLoader.close"  # once per stage
KILL, TERM, INT = int(signal.SIGKILL), int(signal.SIGTERM), int(signal.SIGINT)


def at(function, call, do):
    return {"at": function, "call": call, "do": do}


# Name: (faults, options, exit status).
FAULTS = {
    "killed before anything is written": ([at(STEP, 1, KILL)], [], -KILL),
    "killed in an epoch of stage 1": ([at(STEP, 5, KILL)], [], -KILL),
    "killed in it, a state every step": ([at(STEP, 6, KILL)], ["--state-every", "1"], -KILL),
    "killed in an epoch of stage 2": ([at(STEP, 10, KILL)], ["--state-every", "2"], -KILL),
    "killed before stage 2": ([at(STEP, 7, KILL)], ["--keep", "1"], -KILL),
    "killed while a state is written": ([at(SAVE, 3, at("os:fsync", 1, KILL))], [], -KILL),
    "killed before a state is renamed": ([at(SAVE, 4, at("os:replace", 1, KILL))], [], -KILL),
    "killed after the best, before the state": ([at(SAVE, 2, KILL)], [], -KILL),
    "killed after the state, before the log": ([at(LOG, 3, KILL)], [], -KILL),
    "killed while the log is written": ([at(LOG, 2, at("os:fsync", 1, KILL))], [], -KILL),
    "killed at the end": ([at("colocam.report.report:write_summary", 1, KILL)], [], -KILL),
    "stopped by SIGTERM": ([at(STEP, 9, TERM)], [], 128 + TERM),
    "stopped by SIGINT": ([at(STEP, 2, INT)], [], 128 + INT),
    "stopped in the last step": ([at(STEP, 14, TERM)], [], 128 + TERM),
    "stopped after the last epoch": ([at(END, 2, TERM)], [], 128 + TERM),
    "stopped by SIGTERM, which is forwarded": ([at(STEP, 9, [TERM, TERM])], [], 128 + TERM),
    "stopped at once by a second SIGINT": ([at(STEP, 9, [INT, INT])], [], 128 + INT),
    "full disk": ([at(SAVE, 3, "full disk")], [], 2),
}


@pytest.fixture(scope="module")
def whole(two_epochs, run_faulty, tmp_path_factory):
    """Runs without a fault: a plain one, and one with a state every step and two loader workers."""
    out = tmp_path_factory.mktemp("whole")
    options = {"plain": [], "busy": ["--state-every", "1", "--workers", "2"]}
    jobs = [([*two_epochs, *own, "--out", str(out / name)], []) for name, own in options.items()]
    assert [status for status, _ in run_faulty(jobs)] == [0, 0]
    yield out / "plain", out / "busy"
    shutil.rmtree(out)


@pytest.fixture(scope="module")
def faulty(two_epochs, run_faulty, tmp_path_factory):
    """Runs with one fault each: name to (folder, status, output, files, log) at their end."""
    folder = tmp_path_factory.mktemp("faulty")
    outs = {name: folder / name.replace(" ", "-").replace(",", "") for name in FAULTS}
    jobs = [
        ([*two_epochs, *options, "--out", str(outs[name])], faults)
        for name, (faults, options, _) in FAULTS.items()
    ]
    ends = {}
    for name, (status, output) in zip(FAULTS, run_faulty(jobs), strict=True):
        files = sorted(path.name for path in outs[name].rglob("*"))
        log = outs[name] / "metrics.jsonl"
        text = log.read_text() if log.is_file() else ""
        ends[name] = (outs[name], status, output, files, text)
    yield ends
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def resumed(faulty, run_faulty):
    """The same, resumed with --resume and --out only: name to (folder, status, output)."""
    jobs = [(["--resume", "--out", str(out)], []) for out, *_ in faulty.values()]
    return {
        name: (faulty[name][0], status, output)
        for name, (status, output) in zip(FAULTS, run_faulty(jobs), strict=True)
    }


@pytest.mark.parametrize("name", FAULTS)
def test_run_with_fault_has_expected_exit_status(faulty, name):
    _, status, output, _, _ = faulty[name]
    assert status == FAULTS[name][2], output
    assert "Traceback" not in output


@pytest.mark.parametrize("name", FAULTS)
def test_resumed_run_equals_whole_run(whole, resumed, assert_same_runs, name):
    out, status, output = resumed[name]
    assert status == 0, output
    assert_same_runs(whole[0], out)


@pytest.mark.parametrize("name", FAULTS)
def test_log_has_complete_lines_and_is_only_appended(faulty, resumed, name):
    text = faulty[name][4]
    assert text == "" or text.endswith("\n")
    assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
    assert (resumed[name][0] / "metrics.jsonl").read_text().startswith(text)


@pytest.mark.parametrize("name", FAULTS)
def test_no_temporary_file_remains(resumed, name):
    names = {path.name for path in resumed[name][0].rglob("*") if path.name.startswith(".")}
    assert names == {".lock"}  # which no process holds


def test_states_and_workers_do_not_change_the_result(whole, assert_same_runs):
    assert_same_runs(*whole)


def test_run_resumes_where_it_stopped(faulty, resumed):
    begins = {
        "killed before anything is written": "nothing to resume; starting a new run",
        "killed in an epoch of stage 1": "resuming classifier at epoch 2, step 1",
        "killed in it, a state every step": "resuming classifier at epoch 2, step 3",
        "killed in an epoch of stage 2": "resuming localizer at epoch 1, step 3",
        "killed after the best, before the state": "resuming classifier at epoch 2, step 1",
        "stopped by SIGTERM": "resuming localizer at epoch 1, step 4",  # the step is finished
        "stopped by SIGINT": "resuming classifier at epoch 1, step 3",
        "stopped by SIGTERM, which is forwarded": "resuming localizer at epoch 1, step 4",
        "stopped at once by a second SIGINT": "resuming classifier at epoch 3, step 1",
    }
    for name, line in begins.items():
        assert line in " ".join(resumed[name][2].split()), name


def test_only_newest_states_are_kept(faulty, whole):
    states = [name for name in faulty["killed before stage 2"][3] if name.startswith("state-")]
    assert states == ["state-classifier-0002-000000.safetensors"]
    for out in whole:
        names = sorted(path.name for path in (out / "checkpoints").glob("state-*"))
        assert len(names) == 2
        assert names[-1] == "state-localizer-0002-000000.safetensors"


def test_stopped_run_names_resume(faulty):
    for name in ("SIGTERM", "SIGINT"):
        out, _, output, *_ = faulty[f"stopped by {name}"]
        assert f"stopped by {name}; continue with --resume --out {out}\n" in output


def test_second_sigterm_ends_the_process_after_the_forwarding_time(monkeypatch):
    now, ends = [0.0], []
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(interruption.os, "_exit", ends.append)
    stop = interruption.Interruption()
    for now[0] in (0.0, interruption.FORWARDING_SECONDS - 0.1):
        stop.receive(TERM, None)
    assert (stop.number, ends) == (TERM, [])
    now[0] = interruption.FORWARDING_SECONDS + 0.1
    stop.receive(TERM, None)
    assert ends == [128 + TERM]


def test_full_disk_is_one_line_and_older_states_are_intact(faulty):
    _, _, output, files, _ = faulty["full disk"]
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "state-localizer-0001-000000.safetensors: cannot be written" in errors[0]
    assert "state-classifier-0002-000000.safetensors" in files
    assert {name for name in files if name.startswith(".")} == {".lock"}


def test_finished_run_is_not_changed(whole, run_faulty):
    files = {path: path.stat().st_mtime_ns for path in whole[0].rglob("*") if path.is_file()}
    ((status, output),) = run_faulty([(["--resume", "--out", str(whole[0])], [])])
    assert status == 0
    assert "this run is finished" in output
    assert files == {p: p.stat().st_mtime_ns for p in whole[0].rglob("*") if p.is_file()}


def test_ctrl_c_stops_after_the_step(two_epochs, tmp_path, whole, run_faulty,
                                                   assert_same_runs):  # fmt: skip
    """SIGINT to all processes of the group, loader workers included."""
    out = tmp_path / "run"
    argv = [*two_epochs, "--workers", "2", "--state-every", "1", "--out", str(out)]
    train = Path(__file__).parents[2] / "train.py"
    process = subprocess.Popen(
        [sys.executable, str(train), *argv], start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    end = time.monotonic() + 120
    while not list(out.glob("checkpoints/state-*")) and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    ((status, output),) = run_faulty([(["--resume", "--out", str(out)], [])])
    assert status == 0, output
    assert_same_runs(whole[0], out)

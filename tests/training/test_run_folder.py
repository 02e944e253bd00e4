"""Run folder: nothing of an earlier run or of a user is deleted unasked, and one run writes to it.

The folders here hold files with the names of a run's and arbitrary contents.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from colocam.cli.options import parse_command
from colocam.cli.train import main
from colocam.runtime.distribution import ALONE
from colocam.runtime.errors import UserError
from colocam.training.config import Config
from colocam.training.run_files import clear_folder
from colocam.training.run_folder import Destination, claim_folder, latest_folder
from colocam.training.state import STAGES

CLASSIFIER = (
    "checkpoints/classifier-best-classification.safetensors",
    "checkpoints/classifier-best-localization.safetensors",
    "checkpoints/state-classifier-0002-000000.safetensors",
)
LOCALIZER = (
    "checkpoints/localizer-best.safetensors",
    "checkpoints/localizer-last.safetensors",
    "checkpoints/state-localizer-0001-000003.safetensors",
)
REPORT = ("report/index.html", "report/evaluation.json", "report/overlays/best.mp4")
OTHERS = (
    "notes.txt", "data/cat/0.mp4", "checkpoints/mine.safetensors", "report/notes.md",
    "checkpoints/localizer-best-copy.safetensors", "report/overlays/mine.mp4",
    "tensorboard/readme", "metrics.csv",
)  # fmt: skip
CONFIG = Config.of_preset("smoke", {}).to_json()
LINES = {stage: json.dumps({"stage": stage, "epoch": 0}) + "\n" for stage in STAGES}


def write(folder, *names, text="x"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def run(tmp_path):
    """Folder with a run's files, and others."""
    out = write(tmp_path / "run", *CLASSIFIER, *LOCALIZER, *REPORT, *OTHERS)
    write(out, "config.json", text=CONFIG)
    write(out, "tensorboard/events.out.tfevents.1.host")
    return write(out, "metrics.jsonl", text="".join(LINES.values()))


def claimed(out, **settings):
    with claim_folder(Destination(out, **settings), ALONE) as folder:
        return folder


def refused(out, **settings):
    before = contents(out)
    with pytest.raises(UserError) as error:
        claimed(out, **settings)
    assert "\n" not in str(error.value)
    assert contents(out) == before
    return str(error.value)


# ---- what is protected


def test_a_finished_run_is_refused_in_one_line_before_anything_is_opened(
    tiny_run, tmp_path, capsys
):
    out = tmp_path / "run"
    shutil.copytree(tiny_run.out, out)
    before = contents(out)
    assert main(["--preset", "smoke", "--data", str(tmp_path / "none"), "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"error: --out {out}: holds a run; continue it with --resume, give another --out, or "
        "delete it and start anew with --overwrite\n"
    )
    assert contents(out) == before


@pytest.mark.parametrize("stage", ["all", "classifier"])
@pytest.mark.parametrize("name", [*CLASSIFIER, *LOCALIZER, *REPORT, "metrics.jsonl",
                                  "tensorboard/events.out.tfevents.1.host"])  # fmt: skip
def test_each_result_of_a_run_is_protected(tmp_path, stage, name):
    out = write(tmp_path / "run", name)
    assert f"holds {name}, but no config.json of a run" in refused(out, stage=stage)
    assert f"holds {name}, but no config.json" in refused(out, stage=stage, overwrite=True)
    write(out, "config.json", text=CONFIG)
    assert "--resume" in refused(out, stage=stage)
    assert claimed(out, stage=stage, overwrite=True) == out


def test_stage_2_alone_protects_its_own_results_only(run):
    assert "--overwrite" in refused(run, stage="localizer")
    for name in LOCALIZER:
        (run / name).unlink()
    assert "--overwrite" in refused(run, stage="localizer")  # the log has its epochs
    (run / "metrics.jsonl").write_text(LINES["classifier"])
    assert claimed(run, stage="localizer") == run


@pytest.mark.parametrize(
    "names", [(), ("config.json",), ("notes.txt",), ("checkpoints/mine.safetensors", "report/x")]
)
def test_a_folder_without_results_can_be_used(tmp_path, names):
    """Such as that of a run that was killed before it wrote anything."""
    out = write(tmp_path / "run", *names, text=CONFIG)
    out.mkdir(exist_ok=True)
    (out / "metrics.jsonl").touch()
    assert claimed(out) == out
    assert set(contents(out)) == {*names, "metrics.jsonl"}


@pytest.mark.parametrize("text", ["{}", "[]", "", "no JSON", '{"name": "my project"}'])
def test_a_configuration_of_another_program_is_not_overwritten(tmp_path, text):
    write(tmp_path / "run", "config.json", text=text)
    for overwrite in (False, True):
        message = refused(tmp_path / "run", overwrite=overwrite)
        assert message.startswith(f"{tmp_path / 'run' / 'config.json'}: is not that of a run; move")


def test_a_split_file_of_another_program_is_not_overwritten(tmp_path):
    write(tmp_path / "run", "split.json")
    for overwrite in (False, True):
        message = refused(tmp_path / "run", overwrite=overwrite)
        assert message.startswith(f"{tmp_path / 'run' / 'split.json'}: is not that of a run; move")
    write(tmp_path / "run", "config.json", text=CONFIG)  # killed before anything else was written
    assert claimed(tmp_path / "run") == tmp_path / "run"


def test_a_run_without_states_is_not_resumed_by_starting_anew(run):
    assert claimed(run, resume=True) == run
    for path in (run / "checkpoints").glob("state-*"):
        path.unlink()
    message = refused(run, resume=True)
    assert "no training state" in message
    assert "--overwrite" in message
    (run / "metrics.jsonl").unlink()  # killed in the first epoch, after a checkpoint
    assert claimed(run, resume=True) == run


# ---- what is deleted


def test_files_of_others_stay(run):
    write(run, "checkpoints/.localizer-best.safetensors-123")  # left by a killed process
    clear_folder(run, "all", resumed=False)
    assert set(contents(run)) == {"config.json", *OTHERS}


def test_folders_of_a_run_alone_are_removed(run):
    for name in OTHERS:
        (run / name).unlink()
    clear_folder(run, "all", resumed=False)
    assert {path.name for path in run.iterdir()} == {"config.json", "checkpoints", "data"}


def test_a_resumed_run_deletes_its_report_only(run):
    clear_folder(run, "all", resumed=True)
    logged = {"config.json", "metrics.jsonl", "tensorboard/events.out.tfevents.1.host"}
    assert set(contents(run)) == {*logged, *CLASSIFIER, *LOCALIZER, *OTHERS}


def test_stage_2_alone_deletes_no_classifier(run):
    clear_folder(run, "localizer", resumed=False)
    assert set(contents(run)) == {"config.json", "metrics.jsonl", *CLASSIFIER, *OTHERS}


def test_overwritten_run_equals_a_new_one(tiny_run, tmp_path, one_thread, assert_same_runs):
    out = tmp_path / "run"
    shutil.copytree(tiny_run.out, out)
    (out / "notes.txt").write_text("mine")
    (out / "checkpoints" / "localizer-best.safetensors").write_bytes(b"old")
    argv = [*tiny_run.arguments, "--data", str(tiny_run.data), "--out", str(out)]
    assert main(argv) == 2
    assert main([*argv, "--overwrite"]) == 0
    assert contents(out).keys() == contents(tiny_run.out).keys() | {"notes.txt"}
    assert_same_runs(tiny_run.out, out)


def test_a_mistake_with_overwrite_deletes_nothing(run, tmp_path, capsys):
    before = contents(run)
    argv = ["--preset", "smoke", "--out", str(run), "--overwrite"]
    assert main([*argv, "--data", str(tmp_path / "none")]) == 2
    assert contents(run) == before


# ---- without --out


def test_without_out_the_next_free_name_is_used_and_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    destination = parse_command(["--preset", "smoke"], False).destination
    base = Path("runs/smoke")
    with claim_folder(destination, ALONE) as out:
        assert out == base
        with claim_folder(destination, ALONE) as second:  # at the same time
            assert second == Path("runs/smoke-2")
    assert not Path("runs").exists()  # nothing was written
    write(base, *LOCALIZER)
    write(Path("runs/smoke-2"), "config.json", text="{}")
    Path("runs/smoke-3").write_text("a file")
    capsys.readouterr()
    assert claimed(base, fixed=False) == Path("runs/smoke-4")
    line = "runs/smoke: holds another run; this one is written to runs/smoke-4\n"
    assert capsys.readouterr().out == line


def test_options_that_need_a_certain_folder_do_not_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for argv in (["--out", "o"], ["--resume"], ["--overwrite"], ["--stage", "localizer"]):
        assert parse_command(["--preset", "smoke", *argv], False).destination.fixed
    assert not parse_command(["--preset", "smoke"], False).destination.fixed


def test_names_with_patterns_are_taken_literally(tmp_path):
    out = tmp_path / "run [a].*"
    for name in ("run [a].*-2", "run a.*-3", "run [a].x-4"):
        write(tmp_path / name, "config.json", text=CONFIG)
    assert latest_folder(out) == tmp_path / "run [a].*-2"
    assert latest_folder(tmp_path / "none" / "run") == tmp_path / "none" / "run"


# ---- one run at a time

HOLD = """
import sys, time
from pathlib import Path
from colocam.runtime.distribution import ALONE
from colocam.training.run_folder import Destination, claim_folder
with claim_folder(Destination(Path(sys.argv[1])), ALONE) as out:
    print("claimed", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_one_is_killed(tmp_path, capsys):
    out = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        argv = ["--preset", "smoke", "--data", str(tmp_path / "none"), "--out", str(out)]
        for more in ([], ["--resume"], ["--overwrite"]):
            assert main([*argv, *more]) == 2
            error = capsys.readouterr().err
            assert error == (
                f"error: --out {out}: another run is writing to it; wait for its end, or give "
                "another --out\n"
            )
        assert claimed(out, fixed=False) == tmp_path / "run-2"
        process.kill()
    assert (out / ".lock").exists()
    assert claimed(out) == out


class Rank(type(ALONE)):
    """A rank that receives what rank 0 chose."""

    def gather(self, value):
        return [value if self.rank == 0 else self.chosen, *[None] * (self.world - 1)]


def test_all_ranks_have_the_folder_of_rank_0(tmp_path, run):
    rank = Rank(1, 2, 1)
    object.__setattr__(rank, "chosen", tmp_path / "chosen")
    with claim_folder(Destination(run), rank) as out:
        assert out == tmp_path / "chosen"
    object.__setattr__(rank, "chosen", UserError("taken"))
    with pytest.raises(UserError, match="taken"), claim_folder(Destination(run), rank):
        pass


def test_a_folder_that_was_made_and_not_used_is_removed(tmp_path):
    with pytest.raises(RuntimeError), claim_folder(Destination(tmp_path / "a" / "run"), ALONE):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    claimed(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks"), NotImplementedError("none")])
def test_a_file_system_without_locks_is_noted(tmp_path, monkeypatch, capsys, error):
    monkeypatch.setattr(filelock.FileLock, "acquire", raising(error))
    assert claimed(tmp_path / "run") == tmp_path / "run"
    assert "has no locks; start no second run in it" in capsys.readouterr().out


def test_a_finished_run_of_a_read_only_folder_can_be_read(run, monkeypatch):
    monkeypatch.setattr(filelock.FileLock, "acquire", raising(OSError(errno.EROFS, "Read-only")))
    assert claimed(run, resume=True) == run
    message = refused(run, overwrite=True)
    assert message == f"--out {run}: cannot be written (Read-only)"


def raising(error):
    def fail(*given, **named):
        raise error

    return fail


TWO = """
from pathlib import Path
from colocam.runtime.distribution import join_ranks
from colocam.training.run_folder import Destination, claim_folder
with join_ranks("cpu") as ranks, claim_folder(Destination(Path("run"), fixed=False), ranks) as out:
    ranks.wait()
    (out / f"rank-{ranks.rank}").touch()
    ranks.wait()
"""


def test_two_processes_share_the_next_free_folder(tmp_path):
    write(tmp_path / "run", *CLASSIFIER)
    (tmp_path / "two.py").write_text(TWO)
    run = "torch.distributed.run"
    done = subprocess.run(
        [sys.executable, "-m", run, "--standalone", "--nproc-per-node", "2", "two.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run: holds another run; this one is written to run-2\n"
    assert {path.name for path in (tmp_path / "run-2").iterdir()} == {".lock", "rank-0", "rank-1"}

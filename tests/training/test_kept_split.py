"""Videos added to the data folder after training are neither trained on nor tested unasked.

A run keeps its split: in its folder, and in its checkpoints.
"""

import json
import shutil

import pytest

from colocam.cli.evaluate import main as evaluate
from colocam.cli.train import main as train
from colocam.data.layouts.stored_split import StoredSplit
from colocam.models.checkpoint import load_checkpoint
from colocam.runtime.files import read_tensors, write_tensors

pytestmark = pytest.mark.usefixtures("one_thread")


def with_boxes(data):
    """Writes a box for each video."""
    videos = sorted(path.relative_to(data).as_posix() for path in data.glob("*/*.mp4"))
    lines = ["video,frame,x0,y0,x1,y1", *(f"{video},2,8,8,23,23" for video in videos)]
    (data / "boxes.csv").write_text("\n".join(lines) + "\n")


def make_videos(data, write_video, numbers):
    for name in ("cat", "dog"):
        for number in numbers:
            write_video(data / name / f"{number}.mp4", 5 + number)
    with_boxes(data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_run, write_video):
    """A data folder of six videos a class, and a run on it with another seed than 0."""
    folder = tmp_path_factory.mktemp("trained")
    make_videos(folder / "data", write_video, range(6))
    argv = [*tiny_run.arguments, "--seed", "3", "--data", str(folder / "data")]
    assert train([*argv, "--out", str(folder / "run")]) == 0
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of both, that can be changed."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def added(copied, write_video):
    """The same after two videos were added to each class."""
    make_videos(copied / "data", write_video, (6, 7))
    return copied


@pytest.fixture
def evaluated(tmp_path, capsys):
    """Evaluates a checkpoint on a data folder: videos with boxes, metrics, output."""

    def run(ckpt, data, *argv):
        file = tmp_path / "numbers.json"
        capsys.readouterr()
        arguments = ["--ckpt", ckpt, "--data", data, "--device", "cpu", "--json", file, *argv]
        assert evaluate([str(argument) for argument in arguments]) == 0
        numbers = json.loads(file.read_text())
        return set(numbers["per_video"]), numbers, capsys.readouterr().out

    return run


def stored(folder):
    return StoredSplit.from_json(json.loads((folder / "run" / "split.json").read_text()))


def report(folder):
    return json.loads((folder / "run" / "report" / "evaluation.json").read_text())


def test_the_split_is_in_the_folder_and_in_every_checkpoint(trained):
    split = stored(trained)
    assert [len(part) for part in (split.train, split.val, split.test)] == [8, 2, 2]
    for path in (trained / "run" / "checkpoints").glob("*-best-*"):
        assert StoredSplit.from_json(load_checkpoint(path)[1].split) == split
    for name in ("localizer-best", "localizer-last"):
        path = trained / "run" / "checkpoints" / f"{name}.safetensors"
        assert StoredSplit.from_json(load_checkpoint(path)[1].split) == split


def test_the_test_stays_the_same_after_videos_were_added(added, evaluated):
    ckpt = added / "elsewhere.safetensors"
    shutil.move(added / "run" / "checkpoints" / "localizer-best.safetensors", ckpt)
    videos, numbers, printed = evaluated(ckpt, added / "data")
    assert videos == stored(added).test.keys()
    assert numbers == report(added)
    assert printed.count("4 videos added since training, in no part of the split; --split new") == 1


def test_added_videos_are_tested_by_choice(added, evaluated):
    ckpt = added / "run" / "checkpoints" / "localizer-best.safetensors"
    videos, *_ = evaluated(ckpt, added / "data", "--split", "new")
    assert videos == {f"{name}/{number}.mp4" for name in ("cat", "dog") for number in (6, 7)}


def test_without_added_videos_there_is_nothing_new_to_test(trained, capsys):
    ckpt = trained / "run" / "checkpoints" / "localizer-best.safetensors"
    argv = ["--ckpt", str(ckpt), "--data", str(trained / "data"), "--split", "new"]
    assert evaluate(argv) == 2
    assert "no frame to evaluate in split 'new'" in capsys.readouterr().err


def test_the_seed_of_the_run_need_not_be_given(trained, evaluated):
    ckpt = trained / "run" / "checkpoints" / "localizer-best.safetensors"
    assert evaluated(ckpt, trained / "data")[1] == report(trained)
    _, numbers, printed = evaluated(ckpt, trained / "data", "--seed", "0")
    assert numbers == report(trained)
    assert f"note: --seed 0: not used, since {ckpt} holds its split\n" in printed


def test_all_videos_of_another_folder_are_tested(trained, tmp_path, write_video, evaluated):
    make_videos(tmp_path / "other", write_video, range(20, 23))
    ckpt = trained / "run" / "checkpoints" / "localizer-best.safetensors"
    videos, _, printed = evaluated(ckpt, tmp_path / "other")
    assert videos == {f"{name}/{n}.mp4" for name in ("cat", "dog") for n in range(20, 23)}
    assert "note: none of 6 videos was trained on (compared by contents): all are" in printed


def test_a_checkpoint_of_an_earlier_version_is_evaluated_by_its_seed(trained, tmp_path, evaluated):
    header, tensors = read_tensors(trained / "run" / "checkpoints" / "localizer-best.safetensors")
    del header["split"]
    ckpt = tmp_path / "old.safetensors"
    write_tensors(ckpt, tensors, header)
    _, numbers, printed = evaluated(ckpt, trained / "data", "--seed", "3")
    assert numbers == report(trained)
    assert "note: the checkpoint holds no split (an earlier version wrote it): " in printed


def test_a_resumed_run_trains_on_the_videos_that_it_began_with(
    added, tiny_run, assert_same_runs, capsys
):
    whole, data, run = added / "whole", added / "data", added / "run"
    for name in ("cat", "dog"):  # for the run without an addition
        for number in (6, 7):
            (data / name / f"{number}.mp4").rename(added / f"{name}-{number}.mp4")
    with_boxes(data)
    argv = [*tiny_run.arguments, "--seed", "3", "--data", str(data), "--epochs", "2"]
    assert train([*argv, "--out", str(whole)]) == 0
    for name in ("cat", "dog"):
        for number in (6, 7):
            (added / f"{name}-{number}.mp4").rename(data / name / f"{number}.mp4")
    with_boxes(data)
    capsys.readouterr()
    argv = ["--resume", "--out", str(run), "--data", str(data), "--epochs", "2"]
    assert train(argv) == 0
    printed = capsys.readouterr().out
    assert "in no part of the split; a new run trains on them (first: cat/6.mp4)" in printed
    assert_same_runs(whole, run)
    assert stored(added) == StoredSplit.from_json(json.loads((whole / "split.json").read_text()))


def test_stage_2_alone_keeps_the_split_of_the_classifier(added, tiny_run):
    """In a folder with the classifiers of another run."""
    out = added / "second"
    (out / "checkpoints").mkdir(parents=True)
    for path in (added / "run" / "checkpoints").glob("classifier-best-*"):
        shutil.copy(path, out / "checkpoints")
    argv = [*tiny_run.arguments, "--stage", "localizer", "--data", str(added / "data")]
    assert train([*argv, "--out", str(out)]) == 0
    assert json.loads((out / "split.json").read_text()) == stored(added).to_json()


def test_a_run_that_an_earlier_version_began_is_resumed_with_a_note(copied, capsys):
    run = copied / "run"
    split = stored(copied)
    (run / "split.json").unlink()
    for path in (run / "checkpoints").glob("*-[bl]*"):
        if not path.name.startswith("state-"):
            header, tensors = read_tensors(path)
            del header["split"]
            write_tensors(path, tensors, header)
    argv = ["--resume", "--out", str(run), "--data", str(copied / "data"), "--epochs", "2"]
    assert train(argv) == 0
    assert "note: an earlier version began this run and stored no split" in capsys.readouterr().out
    assert stored(copied) == split


@pytest.mark.parametrize("text", ["", "{}", "[", '{"train": 1, "val": {}, "test": {}}', "\x00"])
def test_a_damaged_split_is_named_in_one_line(copied, capsys, text):
    path = copied / "run" / "split.json"
    path.write_text(text)
    assert train(["--resume", "--out", str(copied / "run"), "--epochs", "2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: is not the split of a run")

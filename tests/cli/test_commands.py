"""Exit status of every command: help, and one-line errors for invalid input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from colocam.cli.evaluate import main as evaluate
from colocam.cli.localize import main as localize
from colocam.cli.options import parse_config
from colocam.cli.prepare import main as prepare
from colocam.cli.train import main as train
from colocam.runtime.device import seed_everything
from colocam.runtime.files import read_tensors, write_tensors

ROOT = Path(__file__).resolve().parents[2]
HEAD = "video,frame,x0,y0,x1,y1\n"
SMOKE = ["--preset", "smoke", "--device", "cpu"]


@pytest.fixture
def refused(capsys):
    """Runs a command with invalid arguments and returns its one-line error."""

    def line(command, *argv):
        assert command([str(argument) for argument in argv]) == 2
        error = capsys.readouterr().err
        assert error.endswith("\n")
        assert error.count("\n") == 1, error
        assert error.startswith("error: ")
        return error[len("error: ") : -1]

    return line


@pytest.fixture
def folder(tmp_path, write_video):
    """A valid plain folder of two classes."""
    for name in ("cat", "dog"):
        write_video(tmp_path / "data" / name / "a.mp4")
    return tmp_path / "data"


@pytest.fixture
def refuses_data(refused, tmp_path):
    """Runs train.py on an invalid data folder and returns the error; no run folder is created."""

    def line(data):
        message = refused(train, *SMOKE, "--data", data, "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return message

    return line


def python(*argv):
    return subprocess.run(
        [sys.executable, *map(str, argv)], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "command", [["train.py"], ["evaluate.py"], ["-m", "colocam.localize"]], ids=" ".join
)
def test_every_command_has_help(command):
    done = python(*command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "usage:" in done.stdout
    assert "--device" in done.stdout


# ---- data


def test_a_missing_data_folder_is_named(refuses_data, refused, tiny_run, tmp_path):
    assert f"{tmp_path / 'nowhere'}: no such folder" in refuses_data(tmp_path / "nowhere")
    ckpt = tiny_run.checkpoint("localizer-best")
    assert "nowhere" in refused(evaluate, "--ckpt", ckpt, "--data", tmp_path / "nowhere")


def test_an_empty_data_folder_is_named(refuses_data, tmp_path):
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'}: holds no class folder" in refuses_data(tmp_path / "empty")


def test_a_class_without_a_video_is_named(refuses_data, folder):
    (folder / "horse").mkdir()
    assert f"{folder / 'horse'}: a class folder without a video" in refuses_data(folder)


def test_a_class_with_an_unreadable_video_is_named_in_the_only_line(folder, tmp_path):
    (folder / "dog" / "a.mp4").write_bytes(bytes(range(256)) * 40)
    done = python("train.py", *SMOKE, "--data", folder, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {folder / 'dog'}: no video of this class can be used; {folder / 'dog' / 'a.mp4'}: "
        "cannot be decoded; re-encode it or remove it\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("dog/b.mp4,0,1,1,5,5", "no video 'dog/b.mp4'"),
        ("dog/a.mp4,10,1,1,5,5", "frame 10 of dog/a.mp4, which has 10 frames"),
        ("dog/a.mp4,-1,1,1,5,5", "frame -1"),
        ("dog/a.mp4,0,9,1,5,5", "corners are swapped"),
        ("dog/a.mp4,0,1,9,5,5", "corners are swapped"),
        ("dog/a.mp4,0,1,1,5", "columns"),
        ("dog/a.mp4,0,1,one,5,5", "not a number"),
        ("dog/a.mp4,0,900,900,950,950", "outside the image"),
    ],
)
def test_an_invalid_line_of_boxes_csv_is_named(refuses_data, folder, line, what):
    (folder / "boxes.csv").write_text(f"{HEAD}cat/a.mp4,1,4,8,20,24\n{line}\n")
    message = refuses_data(folder)
    assert message.startswith(f"{folder / 'boxes.csv'}, line 3: ")
    assert what in message


def test_a_box_partly_outside_the_image_is_clamped_and_counted(folder, capsys, tiny_run):
    (folder / "boxes.csv").write_text(f"{HEAD}cat/a.mp4,1,-4,8,20,99\n")
    shutil.rmtree(folder / "dog")
    shutil.move(folder / "cat", folder / "cross")
    (folder / "boxes.csv").write_text(f"{HEAD}cross/a.mp4,1,-4,8,20,99\n")
    argv = ["--ckpt", tiny_run.checkpoint("localizer-best"), "--data", folder, "--device", "cpu"]
    assert evaluate([str(argument) for argument in argv]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "boxes.csv: 1 box exceeding the image clamped to it" in printed


def test_missing_split_files_are_named(refused, folder, tmp_path):
    argv = ["--data", folder, "--splits", tmp_path / "none", "--out", tmp_path / "run"]
    assert f"{tmp_path / 'none'}: no such folder" in refused(train, *SMOKE, *argv)
    assert not (tmp_path / "run").exists()


def test_another_folder_at_the_path_of_the_built_in_clip_set_is_named(
    refused, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("runs/clips-small-0").mkdir(parents=True)
    assert "clips-small-0: exists and is not a built-in clip set" in refused(train, *SMOKE)
    assert [path.name for path in Path("runs").iterdir()] == ["clips-small-0"]


# ---- arguments


def test_a_crop_larger_than_the_frame_is_an_error(refused, tmp_path):
    argv = ["--crop", 96, "--resize", 64, "--out", tmp_path / "run"]
    assert "--crop 96: must not exceed --resize 64" in refused(train, *SMOKE, *argv)
    assert not (tmp_path / "run").exists()


def test_an_unknown_choice_is_named_in_one_line(refused):
    for command in (train, evaluate, localize):
        message = refused(command, "--device", "abacus")
        assert "--device" in message
        assert "abacus" in message


def test_missing_weights_are_named_and_no_run_folder_is_created(refused, folder, tmp_path):
    argv = ["--data", folder, "--out", tmp_path / "run", "--weights", tmp_path / "none.pth"]
    assert "none.pth: no such file" in refused(train, *SMOKE, *argv)
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_cannot_be_created_is_named(refused, folder, tmp_path):
    (tmp_path / "file").write_text("")
    argv = ["--data", folder, "--out", tmp_path / "file"]
    assert f"--out {tmp_path / 'file'}: cannot be written" in refused(train, *SMOKE, *argv)


@pytest.mark.parametrize("flag", ["--seed", "--clip-seed"])
@pytest.mark.parametrize(
    ("seed", "what"), [(-1, "must not be negative"), (2**64, "must be less than 2^64"),
                       (99999999999999999999, "must be less than 2^64")],
)  # fmt: skip
def test_seeds_that_torch_does_not_take_are_an_error(refused, tiny_run, tmp_path, flag, seed, what):
    out = tmp_path / "run"
    assert refused(train, *SMOKE, "--out", out, flag, seed) == f"{flag} {seed}: {what}"
    ckpt = tiny_run.checkpoint("localizer-best")
    assert refused(evaluate, "--ckpt", ckpt, flag, seed) == f"{flag} {seed}: {what}"
    if flag == "--seed":
        assert refused(prepare, "splits", tmp_path, flag, seed) == f"{flag} {seed}: {what}"
    assert not out.exists()


def test_the_largest_seed_can_be_drawn_with(tmp_path):
    seed = 2**64 - 1
    config = parse_config(["--preset", "smoke", "--seed", str(seed)], False)
    assert config.seed == seed
    seed_everything(seed)
    torch.Generator().manual_seed(seed)


def test_weights_that_cannot_be_had_are_named_before_data_is_opened(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the built-in clip set would be written
    argv = ["--weights", tmp_path / "none.pth"]
    assert "none.pth: no such file" in refused(train, *SMOKE, *argv)
    assert "none.pth: no such file" in refused(train, *SMOKE, *argv, "--data", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_configuration_is_named_and_no_run_folder_is_created(refused, tmp_path):
    file, out = tmp_path / "config.json", tmp_path / "run"
    for content, what in (("{", "is not JSON"), ('{"preset": "smoke", "hue": 1}', "'hue'")):
        file.write_text(content)
        message = refused(train, "--config", file, "--out", out)
        assert message.startswith(f"{file}: ")
        assert what in message
    assert "--preset" in refused(train, "--config", file, "--preset", "smoke")
    assert "--config" in refused(train, "--config", file, "--resume")
    assert not out.exists()


# ---- checkpoints


@pytest.fixture
def run_copy(tiny_run, tmp_path):
    shutil.copytree(tiny_run.out, tmp_path / "run")
    return tmp_path / "run"


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_missing_checkpoint_is_named(refused, folder, tmp_path):
    ckpt = tmp_path / "none.safetensors"
    assert f"{ckpt}: no such file" in refused(evaluate, "--ckpt", ckpt, "--data", folder)
    video = folder / "cat" / "a.mp4"
    out = tmp_path / "out"
    assert f"{ckpt}: no such file" in refused(localize, video, "--ckpt", ckpt, "--out", out)
    assert not out.exists()
    argv = ["--stage", "localizer", "--data", folder, "--out", tmp_path / "run"]
    assert "classifier-best-localization.safetensors: no such file" in refused(train, *SMOKE, *argv)
    assert not (tmp_path / "run").exists()


def test_a_truncated_checkpoint_is_named(refused, folder, tiny_run, tmp_path):
    whole = tiny_run.checkpoint("localizer-best").read_bytes()
    ckpt, out = tmp_path / "cut.safetensors", tmp_path / "out"
    video = folder / "cat" / "a.mp4"
    for length in (0, 7, 1000, 100_000, len(whole) - 1):
        ckpt.write_bytes(whole[:length])
        assert f"{ckpt}: damaged" in refused(evaluate, "--ckpt", ckpt, "--data", folder)
        assert f"{ckpt}: damaged" in refused(localize, video, "--ckpt", ckpt, "--out", out)
    assert not out.exists()


def test_a_checkpoint_with_one_flipped_bit_is_named(refused, folder, tiny_run, tmp_path):
    """In its header, in its first and last weight, and in the middle."""
    whole = tiny_run.checkpoint("localizer-best").read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    ckpt = tmp_path / "flipped.safetensors"
    for place in (8, whole.index(b"resnet18"), start, len(whole) // 2, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        ckpt.write_bytes(flipped)
        assert f"{ckpt}: damaged" in refused(evaluate, "--ckpt", ckpt, "--data", folder)


@pytest.mark.parametrize(
    ("change", "header", "what"),
    [
        ({"encoder": "resnet50"}, {}, "does not hold a resnet50 localizer"),
        ({"classes": ["cat", "dog"]}, {}, "does not hold a resnet18 localizer"),
        ({}, {"version": "1"}, "format version '1', this package reads 2"),
        ({}, {"version": "3"}, "format version '3', this package reads 2"),
        ({}, {"format": "pt"}, "not a checkpoint of this package"),
    ],
)
def test_a_checkpoint_of_another_model_or_format_is_named(
    refused, folder, tiny_run, tmp_path, change, header, what
):
    """Another architecture, number of classes or version is distinguished from a damaged file."""
    old, tensors = read_tensors(tiny_run.checkpoint("localizer-best"))
    info = json.dumps(json.loads(old["info"]) | change)
    ckpt = tmp_path / "other.safetensors"
    write_tensors(ckpt, tensors, old | header | {"info": info})
    message = refused(evaluate, "--ckpt", ckpt, "--data", folder)
    assert message.startswith(f"{ckpt}: {what}")


def test_a_training_state_used_as_checkpoint_is_named(refused, folder, tiny_run):
    state = next((tiny_run.out / "checkpoints").glob("state-*"))
    message = refused(evaluate, "--ckpt", state, "--data", folder)
    assert message.startswith(f"{state}: is a training state for --resume")


def test_a_checkpoint_of_another_architecture_is_named_and_not_changed(refused, tiny_run, run_copy):
    before = contents(run_copy)
    argv = ["--data", tiny_run.data, "--out", run_copy, "--stage", "localizer", "--overwrite"]
    message = refused(train, *SMOKE, *argv, "--encoder", "resnet50")
    assert "classifier-best-localization.safetensors: holds a resnet18" in message
    assert "--encoder" in message
    assert contents(run_copy) == before


def test_data_with_other_classes_than_the_checkpoint_is_an_error(
    refused, folder, tiny_run, run_copy
):
    before = contents(run_copy)
    ckpt = tiny_run.checkpoint("localizer-best")
    message = refused(evaluate, "--ckpt", ckpt, "--data", folder)
    assert message.startswith(f"{ckpt}: ")
    assert "not cat, dog" in message
    argv = ["--data", folder, "--out", run_copy, "--stage", "localizer", "--overwrite"]
    assert "train stage 1 again" in refused(train, *SMOKE, *argv)
    assert contents(run_copy) == before


def test_localize_with_a_classifier_is_an_error(refused, folder, tiny_run, tmp_path):
    ckpt = tiny_run.checkpoint("classifier-best-localization")
    argv = [folder / "cat" / "a.mp4", "--ckpt", ckpt, "--out", tmp_path / "out"]
    assert f"{ckpt}: holds a classifier, a localizer is needed" in refused(localize, *argv)


# ---- videos to localize in


def test_localize_names_a_bad_video_and_nothing_is_written(refused, folder, tiny_run, tmp_path):
    ckpt, out = tiny_run.checkpoint("localizer-best"), tmp_path / "out"
    good, bad = folder / "cat" / "a.mp4", tmp_path / "bad.mp4"
    bad.write_bytes(b"not a video")
    (tmp_path / "worse.mp4").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for videos, what in (
        ([good, tmp_path / "none.mp4"], f"{tmp_path / 'none.mp4'}: no such file or folder"),
        ([good, tmp_path / "empty"], f"{tmp_path / 'empty'}: holds no image files and no videos"),
        ([bad], f"{bad}: cannot be decoded"),
        ([bad, tmp_path / "worse.mp4"], f"{bad}: cannot be decoded"),
    ):
        message = refused(localize, *videos, "--ckpt", ckpt, "--out", out)
        assert message.startswith(what)
        assert ("(none of 2 videos can be used)" in message) == (
            videos[0] == bad and videos[1:] != []
        )
        assert not out.exists()


def test_localize_names_an_invalid_option(refused, folder, tiny_run, tmp_path):
    ckpt, out = tiny_run.checkpoint("localizer-best"), tmp_path / "out"
    argv = [folder / "cat" / "a.mp4", "--ckpt", ckpt, "--out", out]
    for option in (
        ["--smooth", 0],
        ["--smooth", 1],
        ["--smooth", "nan"],
        ["--refine", 0],
        ["--refine", 17],
        ["--cpu-threads", 0],
    ):
        assert refused(localize, *argv, *option).startswith(option[0])
    message = refused(localize, *argv, "--class", "unicorn")
    assert message.startswith(f"--class unicorn: {ckpt} has ")
    assert "stripes" in message
    assert not out.exists()


def test_localize_names_an_output_folder_that_cannot_be_created(
    refused, folder, tiny_run, tmp_path
):
    (tmp_path / "file").write_text("")
    ckpt = tiny_run.checkpoint("localizer-best")
    argv = [folder / "cat" / "a.mp4", "--ckpt", ckpt, "--out", tmp_path / "file"]
    assert f"--out {tmp_path / 'file'}" in refused(localize, *argv)
    assert "--batch-size 0" in refused(localize, *argv, "--batch-size", 0)

"""Invalid input of the commands: one line and exit status 2, or a counted warning."""

import builtins
import errno
import io
import json
import os
import shutil
import tarfile
import zipfile

import cv2
import numpy as np
import pytest

from colocam.cli.evaluate import main as evaluate
from colocam.cli.prepare import main as prepare
from colocam.cli.train import main as train
from colocam.data.decoding.open import open_video
from colocam.data.layouts.open import open_data
from colocam.data.layouts.split_files import read_split
from colocam.data.loading import cache as cache_module

HEAD = "video,frame,x0,y0,x1,y1\n"
SMOKE = ["--preset", "smoke", "--device", "cpu"]
SPLIT_FILES = ("image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt")

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # as the commands do, and earlier
pytestmark = pytest.mark.usefixtures("one_thread")


def snapshot(folder):
    """Size and modification time of every path below a folder."""
    states = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in states.items()}


@pytest.fixture
def refused(capfd, tmp_path):
    """Runs an invalid command and returns its one-line error; the folder is not changed."""

    def line(command, *argv):
        capfd.readouterr()
        before = snapshot(tmp_path)
        assert command([str(argument) for argument in argv]) == 2
        error = capfd.readouterr().err
        assert error.startswith("error: ")
        assert error.endswith("\n")
        assert error.count("\n") == 1, error
        assert snapshot(tmp_path) == before
        return error[len("error: ") : -1]

    return line


@pytest.fixture
def evaluated(capfd, tmp_path, tiny_run):
    """Runs evaluate.py on a data folder and returns its output and metrics."""

    def run(data, *argv):
        file, before = tmp_path / "numbers.json", snapshot(data)
        options = ["--ckpt", tiny_run.checkpoint("localizer-best"), "--device", "cpu"]
        capfd.readouterr()
        arguments = [*options, "--data", data, "--json", file, *argv]
        assert evaluate([str(argument) for argument in arguments]) == 0
        printed = capfd.readouterr()
        assert printed.err == ""
        assert snapshot(data) == before
        return printed.out, json.loads(file.read_text())

    return run


@pytest.fixture
def refuses_data(refused, tmp_path):
    """Runs train.py on an invalid data folder and returns its one-line error."""
    return lambda data: refused(train, *SMOKE, "--data", data, "--out", tmp_path / "run")


@pytest.fixture
def plain(tmp_path, write_video):
    """A plain folder of two classes, each with a video file and a folder of frames; 3 boxes."""
    data = tmp_path / "plain"
    for name in ("cross", "rings"):
        write_video(data / name / "file.mp4", 6)
        write_video(data / name / "frames", 6)
    videos = ("cross/file.mp4", "cross/frames", "rings/file.mp4")
    lines = "".join(f"{video},2,8,8,23,23\n" for video in videos)
    (data / "boxes.csv").write_text(HEAD + lines)
    return data


@pytest.fixture
def splits(tmp_path, tiny_run):
    """A data folder with split files."""
    shutil.copytree(tiny_run.data, tmp_path / "clips")
    return tmp_path / "clips" / "splits"


@pytest.fixture
def denied(monkeypatch):
    """Makes a path unreadable, also for the superuser."""
    paths = set()

    def guarded(function):
        def call(path, *args, **kwargs):
            if isinstance(path, str | os.PathLike) and os.fspath(path) in paths:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            return function(path, *args, **kwargs)

        return call

    for module, name in (
        (builtins, "open"), (io, "open"), (os, "listdir"), (os, "scandir"), (np, "fromfile"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, guarded(getattr(module, name)))
    return lambda path: paths.add(os.fspath(path))


# ---- archives


def pack_zip(path, escaping=False):
    with zipfile.ZipFile(path, "w") as file:
        for number in range(3):
            file.writestr(f"cat/data/0001/shots/001/{number}.jpg", bytes([number + 1]) * 5000)
        if escaping:
            file.writestr("../../escaped.jpg", b"data")


def pack_tar(path, escaping=False):
    with tarfile.open(path, "w:gz") as file:
        for number in range(3):
            member = tarfile.TarInfo(f"cat/data/0001/shots/001/{number}.jpg")
            member.size = 5000
            file.addfile(member, io.BytesIO(np.random.default_rng(number).bytes(5000)))
        if escaping:
            file.addfile(tarfile.TarInfo("../../escaped.jpg"))


@pytest.mark.parametrize(("name", "pack"), [("cat.zip", pack_zip), ("cat.tar.gz", pack_tar)])
@pytest.mark.parametrize("fault", ["cut", "flipped", "text", "empty", "escaping"])
def test_a_bad_archive_is_named_and_nothing_is_written(tmp_path, refused, name, pack, fault):
    pytest.importorskip("scipy")
    source = tmp_path / "src"
    source.mkdir()
    archive = source / name
    pack(archive, fault == "escaping")
    data = bytearray(archive.read_bytes())
    if fault == "flipped":
        data[len(data) // 2] ^= 1
    if fault in ("cut", "text", "empty"):
        data = {"cut": data[: len(data) // 2], "text": b"no archive", "empty": b""}[fault]
    archive.write_bytes(data)
    message = refused(prepare, "youtube-objects-v1", source, tmp_path / "new" / "dst")
    what = "not unpacked: its member" if fault == "escaping" else "damaged or not an archive"
    assert message.startswith(f"{archive}: {what}")


# ---- videos and frames


def cut_mp4(path, write_video):
    write_video(path, 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # the index is at the end


def bad_frames(content):
    def write(path, _):
        path.mkdir()
        for number in range(3):
            (path / f"{number}.jpg").write_bytes(content)

    return write


BAD_VIDEOS = {
    "cut.mp4": (cut_mp4, "cannot be decoded"),
    "text.mp4": (lambda path, _: path.write_text("no video"), "cannot be decoded"),
    "zero-byte.mp4": (lambda path, _: path.write_bytes(b""), "cannot be decoded"),
    "gone.mp4": (lambda path, _: path.symlink_to("nowhere.mp4"), "no such file or folder"),
    "zero-byte frames": (bad_frames(b""), "not one of its 3 frames can be decoded"),
    "text frames": (bad_frames(b"no image"), "not one of its 3 frames can be decoded"),
}


@pytest.mark.parametrize("name", BAD_VIDEOS)
def test_a_class_without_a_video_that_can_be_used_is_named(plain, write_video, refuses_data, name):
    shutil.rmtree(plain / "rings")
    (plain / "rings").mkdir()
    (plain / "boxes.csv").unlink()
    write, what = BAD_VIDEOS[name]
    write(plain / "rings" / name, write_video)
    message = refuses_data(plain)
    assert message.startswith(f"{plain / 'rings'}: no video of this class can be used; ")
    assert f"{plain / 'rings' / name}: {what}" in message


def test_videos_that_cannot_be_used_are_skipped_with_their_boxes_and_counted(
    plain, write_video, evaluated
):
    (plain / "rings" / "about.txt").write_text("not a video")
    for name, (write, _) in BAD_VIDEOS.items():
        write(plain / "rings" / name, write_video)
        with (plain / "boxes.csv").open("a") as file:
            file.write(f"rings/{name},1,8,8,23,23\n")
    printed, numbers = evaluated(plain)
    assert "note: rings: 1 item ignored as not a video (first: about.txt)\n" in printed
    first = plain / "rings" / "cut.mp4"
    assert f"note: 6 of 10 videos are unusable and skipped (first: {first}: cannot" in printed
    assert "note: boxes.csv: 6 boxes of skipped videos not used\n" in printed
    assert (numbers["frames"], numbers["boxes"]) == (3, 3)


def test_the_complete_frames_of_a_truncated_video_are_used(plain, write_video, evaluated):
    path = write_video(plain / "cross" / "cut.avi", 30)
    whole = list(open_video(path, "whole"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with (plain / "boxes.csv").open("a") as file:
        file.write("".join(f"cross/cut.avi,{frame},8,8,23,23\n" for frame in (3, 28, 29)))
    shutil.rmtree(plain / "cross" / "frames")
    (plain / "boxes.csv").write_text(
        (plain / "boxes.csv").read_text().replace("cross/frames,2,8,8,23,23\n", "")
    )
    printed, numbers = evaluated(plain)
    kept = list(open_video(path, "cut"))
    assert (
        f"note: cross/cut.avi: container reports 30 frames but only {len(kept)} decode" in printed
    )
    assert "note: cross/cut.avi: 2 boxes of frames that do not decode skipped (first: " in printed
    assert numbers["boxes"] == 3
    assert 3 < len(kept) < 28
    assert all(np.array_equal(*frames) for frames in zip(kept, whole, strict=False))


def test_frames_that_cannot_be_decoded_are_skipped_and_counted(plain, evaluated):
    folder = plain / "cross" / "frames"
    cut = (folder / "0002.jpg").read_bytes()
    (folder / "0002.jpg").write_bytes(cut[: len(cut) * 9 // 10])
    (folder / "0003.jpg").write_bytes(b"")
    _, png = cv2.imencode(".png", np.full((48, 64, 3), 90, np.uint8))
    (folder / "0004.jpg").write_bytes(png.tobytes())  # a valid image with another suffix
    with (plain / "boxes.csv").open("a") as file:
        file.write("".join(f"cross/frames,{frame},8,8,23,23\n" for frame in (3, 4)))
    printed, numbers = evaluated(plain)
    assert "note: cross/frames: 1 zero-byte frame skipped (first: 0003.jpg)\n" in printed
    what = "2 frames with boxes cannot be decoded, skipped (first: 2)"
    assert f"note: cross/frames: {what}\n" in printed
    assert numbers["frames"] == 3


def test_frames_without_boxes_that_cannot_be_decoded_are_counted_too(plain, evaluated):
    (plain / "boxes.csv").unlink()
    (plain / "cross" / "frames" / "0003.jpg").write_bytes(b"text")
    printed, numbers = evaluated(plain)
    what = "1 of 6 frames to evaluate on cannot be decoded, skipped (first: 3)"
    assert f"note: cross/frames: {what}\n" in printed
    assert numbers["frames"] == 23


@pytest.mark.parametrize(("split", "what"), [("train", "8 training shots"), ("test", "8 frames")])
def test_data_without_a_decodable_frame_is_named(splits, tmp_path, tiny_run, refused, split, what):
    data = splits.parent
    for name in (splits / split / "image_ids.txt").read_text().split():
        for frame in (data / name).iterdir() if split == "train" else [data / name]:
            frame.write_text("no image")
    run = {
        "train": [train, *SMOKE, "--out", tmp_path / "run"],
        "test": [evaluate, "--ckpt", tiny_run.checkpoint("localizer-best")],
    }[split]
    message = refused(*run, "--data", data)
    assert message.startswith((f"{data}: not one of ", f"{data}: no frame of "))
    assert what in message


def test_videos_of_one_frame_can_be_trained_on_and_evaluated(
    tmp_path, write_video, tiny_run, capfd
):
    data = tmp_path / "data"
    for name in ("cross", "rings"):
        write_video(data / name / "file.mp4", 1)
        write_video(data / name / "frames", 1)
    boxes = [
        f"{name}/{v},0,4,8,19,23\n" for name in ("cross", "rings") for v in ("file.mp4", "frames")
    ]
    (data / "boxes.csv").write_text(HEAD + "".join(boxes))
    argv = [*tiny_run.arguments, "--method", "tcam", "--frames", "4", "--data", data]
    assert train([str(argument) for argument in [*argv, "--out", tmp_path / "run"]]) == 0
    numbers = json.loads((tmp_path / "run" / "report" / "evaluation.json").read_text())
    assert (numbers["frames"], numbers["boxes"]) == (4, 4)
    assert "warning" not in capfd.readouterr().out


# ---- permissions


@pytest.mark.parametrize("name", ["file.mp4", "frames"])
def test_a_video_without_read_permission_is_skipped_and_counted(plain, evaluated, denied, name):
    path = plain / "cross" / name
    denied(path)
    printed, numbers = evaluated(plain)
    what = f"(first: {path}: cannot be read (Permission denied))\n"
    assert f"note: 1 of 4 videos is unusable and skipped {what}" in printed
    assert numbers["frames"] == 2


def test_a_frame_without_read_permission_is_skipped_and_counted(plain, evaluated, denied):
    denied(plain / "cross" / "frames" / "0002.jpg")
    printed, numbers = evaluated(plain)
    assert "note: cross/frames: 1 frame with boxes cannot be decoded, skipped" in printed
    assert numbers["frames"] == 2


@pytest.mark.parametrize(
    "path", ["cross", "boxes.csv", "splits/class_id.yaml", "splits/test/localization.txt"]
)
def test_an_unreadable_folder_or_table_is_named(plain, splits, refuses_data, denied, path):
    data = splits.parent if path.startswith("splits") else plain
    denied(data / path)
    message = refuses_data(data)
    assert message.startswith(f"{data / path}: cannot be ")
    assert message.endswith("(Permission denied)")


def test_a_checkpoint_without_read_permission_is_named(plain, tiny_run, refused, denied):
    ckpt = tiny_run.checkpoint("localizer-best")
    denied(ckpt)
    message = refused(evaluate, "--ckpt", ckpt, "--data", plain)
    assert message == f"{ckpt}: cannot be read (Permission denied)"


# ---- split files


def edited(path, change):
    """Replaces the text of a file."""
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        ("class_labels.txt", lambda text: text.replace(",0\n", ",9\n", 1), "has label 9, but"),
        ("class_labels.txt", lambda text: text.replace(",0\n", ",x\n", 1), "not a whole number"),
        ("class_labels.txt", lambda text: text.replace(",0\n", "\n", 1), "expected id,label"),
        ("class_labels.txt", lambda text: text + "cat/1.jpg,0\n", "is not in image_ids.txt"),
        ("class_labels.txt", lambda text: "", "no line for the id"),
        ("class_labels.txt", lambda text: text + text.replace(",0", ",1"), "with another value"),
        ("image_ids.txt", lambda text: "", "is not in image_ids.txt"),
        ("image_sizes.txt", lambda text: text.replace(",72,", ",", 1), "expected id,width,height"),
        ("image_sizes.txt", lambda text: text.replace(",72,", ",0,", 1), "not a whole number"),
        ("localization.txt", lambda text: text[:-8], "localization.txt, line 8: expected id,x0,"),
        ("localization.txt", lambda text: text[:-2] + "nan\n", "is not a number"),
        ("localization.txt", lambda text: "\udcff" + text, "cannot be read as UTF-8"),
        *((name, None, "cannot be read (No such file or directory)") for name in SPLIT_FILES),
    ],
)
def test_an_error_in_split_files_is_named(splits, refuses_data, file, change, what):
    path = splits / "test" / file
    if change is None:
        path.unlink()
    else:
        text = change(path.read_text())
        path.write_bytes(text.encode(errors="surrogateescape"))
    message = refuses_data(splits.parent)
    assert message.startswith(f"{splits / 'test'}/")
    assert what in message


@pytest.mark.parametrize("outside", ["../clips", "/clips"])
def test_ids_outside_the_data_folder_are_an_error(splits, refuses_data, outside):
    name = read_split(splits / "val")[0].id
    for file in SPLIT_FILES:
        edited(splits / "val" / file, lambda text: text.replace(name, f"{outside}/{name}"))
    message = refuses_data(splits.parent)
    path = splits / "val" / "image_ids.txt"
    assert message.startswith(f"{path}: '{outside}/{name}' is outside the data folder")


def test_split_files_of_other_data_are_an_error(plain, splits, refused, tiny_run):
    argv = ["--ckpt", tiny_run.checkpoint("localizer-best"), "--data", plain, "--splits", splits]
    message = refused(evaluate, *argv)
    assert message.startswith(f"{plain}: missing or empty: 8 of 8 training shots")
    assert "--data and --splits must belong together" in message


def test_empty_split_files_are_named(splits, refuses_data, refused, tiny_run):
    for split in ("test", "train"):
        for file in SPLIT_FILES:
            (splits / split / file).write_text("")
        if split == "test":
            argv = ["--ckpt", tiny_run.checkpoint("localizer-best"), "--data", splits.parent]
            assert "no frame to evaluate in split 'test'" in refused(evaluate, *argv)
    path = splits / "train" / "image_ids.txt"
    assert refuses_data(splits.parent) == f"{path}: lists no training shot"


def test_split_files_with_byte_order_mark_and_crlf_give_the_same_metrics(splits, evaluated):
    _, before = evaluated(splits.parent)
    for path in splits.rglob("*.*"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    printed, after = evaluated(splits.parent)
    assert after == before
    assert "note:" not in printed


def test_missing_and_repeated_frames_are_skipped_and_counted(splits, evaluated):
    names = (splits / "test" / "image_ids.txt").read_text().split()
    (splits.parent / names[1]).unlink()
    for file in SPLIT_FILES[:3]:
        edited(splits / "test" / file, lambda text: text + text.splitlines()[0] + "\n")
    printed, numbers = evaluated(splits.parent)
    place = f"{splits / 'test' / 'image_ids.txt'}, line 9"
    assert f"note: test: 3 repeated lines skipped (first: {place})\n" in printed
    what = f"1 of 8 test frames is missing or empty and skipped (first: {names[1]})"
    assert f"note: {what}\n" in printed
    assert numbers["frames"] == 7


def test_boxes_of_split_files_are_corrected_or_skipped_and_counted(splits, evaluated):
    names = (splits / "test" / "image_ids.txt").read_text().split()
    boxes = ["40,40,10,20", "10,20,90,40", "80,60,90,70", "5,5,9,9", "5,5,9,9"]
    lines = "".join(f"{name},{box}\n" for name, box in zip(names[3:], boxes, strict=True))
    repeated = f"{names[0]},1,2,30,40\n" * 2
    (splits / "test" / "localization.txt").write_text(repeated + lines)
    printed, numbers = evaluated(splits.parent)
    for what in (
        "listed twice kept once",
        "with swapped corners corrected",
        "outside the image skipped",
        "exceeding the image clamped to it",
    ):
        assert f"note: test: 1 box {what}\n" in printed
    assert numbers["boxes"] == 5


def test_frames_of_another_size_than_listed_have_their_boxes_scaled_and_counted(splits, evaluated):
    printed, before = evaluated(splits.parent)
    assert "note:" not in printed
    edited(splits / "test" / "image_sizes.txt", lambda text: text.replace(",72,54", ",144,108"))
    records = read_split(splits / "test")
    lines = [f"{r.id},{','.join(str(2 * value) for value in r.boxes[0])}\n" for r in records]
    (splits / "test" / "localization.txt").write_text("".join(lines))
    printed, after = evaluated(splits.parent)
    what = "8 boxes scaled to frames whose size differs from image_sizes.txt"
    assert f"note: test: {what}\n" in printed
    assert after == before


def test_frames_in_both_train_and_test_are_counted(splits, evaluated):
    first = (splits / "test" / "image_ids.txt").read_text().split()[0]
    shot = first.rpartition("/")[0]
    edited(splits / "train" / "image_ids.txt", lambda text: f"{text}{shot}\n")
    edited(splits / "train" / "class_labels.txt", lambda text: f"{text}{shot},0\n")
    printed, _ = evaluated(splits.parent)
    what = f"2 of 8 test frames are in training shots (first: {first})"
    assert f"note: {what}\n" in printed


# ---- boxes.csv


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the first line must be video,frame,x0,y0,x1,y1"),
        (b"video,frame,x0,y0,x1\ncross/frames,0,1,2,3\n", "the first line must be"),
        (HEAD.encode() + b"cr\xf6ss/frames,0,1,2,3,4\n", "save it as UTF-8 CSV"),
    ],
)
def test_an_invalid_boxes_csv_is_named(plain, refuses_data, content, what):
    (plain / "boxes.csv").write_bytes(content)
    message = refuses_data(plain)
    assert message.startswith(f"{plain / 'boxes.csv'}: ")
    assert what in message


def test_boxes_csv_with_byte_order_mark_and_crlf_is_read_and_repeated_lines_are_counted(
    plain, evaluated
):
    text = (plain / "boxes.csv").read_text()
    text += text.splitlines()[1] + "\n"
    (plain / "boxes.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    printed, numbers = evaluated(plain)
    assert "note: boxes.csv: 1 repeated line skipped (first: line 5)\n" in printed
    assert (numbers["frames"], numbers["boxes"]) == (3, 3)


# ---- names


def test_names_that_are_not_utf8_and_circular_links_are_reported(plain, evaluated, refuses_data):
    strange = os.fsencode(plain / "cross") + b"/\xff"
    try:
        shutil.copy(plain / "cross" / "file.mp4", strange + b".mp4")
    except OSError:
        pytest.skip("this file system takes no such names")
    printed, numbers = evaluated(plain)
    assert "note: 1 of 5 videos is unusable and skipped (first: " in printed
    assert "its name is not UTF-8; rename it)\n" in printed
    assert numbers["frames"] == 3
    (plain / "cross" / "circle.mp4").symlink_to("circle.mp4")
    assert refuses_data(plain).startswith(f"{plain / 'cross' / 'circle.mp4'}: Too many levels")
    name = plain.parent / ("x" * 300)
    assert refuses_data(name) == f"{name}: File name too long"


# ---- folders that cannot be written


def full_disk(number):
    def write(*_):
        raise OSError(number, os.strerror(number))

    return write


def test_a_full_disk_for_the_cache_and_read_only_data_do_not_change_a_run(
    splits, tmp_path, tiny_run, monkeypatch, capfd
):
    data = splits.parent
    for path in (*data.rglob("*"), data):
        path.chmod(path.stat().st_mode & ~0o222)
    before = snapshot(data)
    monkeypatch.setattr(cache_module, "write_entry", full_disk(errno.ENOSPC))
    argv = [*tiny_run.arguments, "--data", data, "--out", tmp_path / "run"]
    argv += ["--cache", tmp_path / "cache", "--workers", "0"]
    assert train([str(argument) for argument in argv]) == 0
    printed = capfd.readouterr().out
    place = tmp_path / "cache"
    assert printed.count("warning:") == 1
    assert f"warning: {place}: cannot be written (No space left on device); frames" in printed
    assert list(place.iterdir()) == []
    assert snapshot(data) == before
    numbers = (tmp_path / "run" / "report" / "evaluation.json").read_text()
    assert json.loads(numbers) == json.loads(
        (tiny_run.out / "report" / "evaluation.json").read_text()
    )
    for path in (data, *data.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)  # so that it can be deleted


@pytest.mark.parametrize("fault", ["quota", "file", "not writable"])
def test_a_cache_that_cannot_be_written_is_reported_once_and_frames_are_decoded(
    plain, tmp_path, monkeypatch, fault
):
    place = tmp_path / "cache"
    if fault == "quota":
        monkeypatch.setattr(cache_module, "write_entry", full_disk(errno.EDQUOT))
    if fault == "file":
        place.write_text("")
    if fault == "not writable":
        monkeypatch.setattr(os, "replace", full_disk(errno.EACCES))
    cache = cache_module.FrameCache(place, 10**9)
    for shot in open_data(plain).train:
        frames = cache.read(shot.frames, [1, 2], range(6), 32)
        assert [frame.shape for frame in frames] == [(32, 32, 3)] * 2
    (line,) = cache.pop_warnings().disabled
    assert line.startswith(f"{place}: cannot be written (")
    assert cache.pop_warnings().disabled == ()
    assert place.is_file() or list(place.iterdir()) == []


def test_split_files_of_a_read_only_folder_are_written_elsewhere(plain, tmp_path, monkeypatch):
    """Frames are copied if the file system cannot link them."""
    before = snapshot(plain)
    for number in (errno.EPERM, errno.EXDEV):
        monkeypatch.setattr(os, "link", full_disk(number))
        target = tmp_path / f"frames-{number}"
        assert prepare(["splits", str(plain), "--frames", str(target)]) == 0
        assert len(open_data(target).train) == 4
    assert snapshot(plain) == before


@pytest.mark.parametrize("option", ["--json", "--predictions", "--coco", "--report", "--save-maps"])
def test_an_output_that_cannot_be_written_is_named_before_evaluation(tmp_path, refused, option):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    places = [tmp_path / "file" / "inside"]
    places.append(tmp_path / ("file" if option in ("--report", "--save-maps") else "folder"))
    for place in places:
        message = refused(evaluate, "--ckpt", tmp_path / "never read", option, place)
        assert message.startswith(str(tmp_path))
        assert "cannot be written" in message or "is a folder" in message


def test_a_run_folder_that_cannot_be_created_is_named_before_training(splits, tmp_path, refused):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        message = refused(train, *SMOKE, "--data", splits.parent, "--out", place)
        assert message.startswith(f"--out {place}: cannot be written")

"""Command `prepare`: small sets in the published layouts, with their known faults."""

import io
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from colocam.cli.prepare import SETS, main
from colocam.data.layouts.open import open_data
from colocam.data.layouts.split_files import SplitRecord, read_split, write_class_ids, write_split
from colocam.data.prepare import source_set

savemat = pytest.importorskip("scipy.io").savemat

SIZE = (64, 48)


def picture(path, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((SIZE[1], SIZE[0], 3), 8 * number % 256, np.uint8)
    _, data = cv2.imencode(".jpg", image)
    data.tofile(path)


def cells(*boxes):
    """A MATLAB cell array 1×n, a box 1×4 in each cell."""
    array = np.empty((1, len(boxes)), object)
    for i, box in enumerate(boxes):
        array[0, i] = np.array([box], float)
    return array


def pairs(*entries):
    """A MATLAB cell array n×2: id, n×4 boxes."""
    array = np.empty((len(entries), 2), object)
    for i, (name, boxes) in enumerate(entries):
        array[i] = [name, np.array(boxes, float).reshape(-1, 4)]
    return array


def write_v1(root, classes=("cat", "horse"), videos=5):
    """Videos 0001 … of two shots of three frames; the last is a test video, the others train.

    The first frame of each shot 001 has boxes, and that of the last video's shot 002.
    """
    for name in classes:
        for video in range(1, videos + 1):
            for shot in (1, 2):
                folder = root / name / "data" / f"{video:04d}" / "shots" / f"{shot:03d}"
                for frame in range(1, 4):
                    picture(folder / f"frame{frame:04d}.jpg", 3 * video + frame)
                if shot == 1:
                    boxes = cells((1, 2, 30, 40), (5.5, 6.5, 20.25, 30))
                    savemat(folder / "frame0001.jpg_sticks.mat", {"coor": boxes})
        last = root / name / "data" / f"{videos:04d}" / "shots"
        savemat(last / "002" / "frame0001.jpg_sticks.mat", {"coor": cells((2, 3, 9, 8))})
        sets = root / name / "sets"
        sets.mkdir()
        train = "".join(f"{video:04d}\n" for video in range(1, videos))
        (sets / "train.txt").write_text(train)
        (sets / "test.txt").write_text(f"{videos:04d}\n")
    return root


def write_v2(root, classes=("cat", "horse")):
    """Five videos of two shots of four frames; video 2 is for testing, with two boxed frames."""
    for name in classes:
        ranges = np.array([(4 * s + 1, 4 * s + 4, s // 2 + 1) for s in range(10)], float).T
        for number in range(1, 41):
            picture(root / name / f"{number:08d}.jpg", number)
        (root / "Ranges").mkdir(exist_ok=True)
        savemat(root / "Ranges" / f"ranges_{name}.mat", {"ranges": ranges})
        truth = root / "GroundTruth" / name
        truth.mkdir(parents=True)
        test = pairs(
            (f"{name}00000009", [(1, 2, 30, 40)]), (f"{name}00000014", [(3, 4, 5, 6), (4, 4, 6, 6)])
        )
        training = pairs(*((f"{name}{8 * v + 2:08d}", [(2, 2, 9, 9)]) for v in (0, 2, 3, 4)))
        savemat(truth / f"bb_gtTest_{name}.mat", {"bb_gtTest": test})
        savemat(truth / f"bb_gtTraining_{name}.mat", {"bb_gtTraining": training})
    return root


WRITERS = {"youtube-objects-v1": write_v1, "youtube-objects-v2.2": write_v2}


def pack(source, target, how):
    """Every folder of `source` as an archive of its own."""
    target.mkdir()
    for folder in sorted(source.iterdir()):
        shutil.make_archive(str(target / folder.name), how, source, folder.name)
    return target


@pytest.fixture
def prepare(capsys):
    """Runs the command; returns its output."""

    def run(*argv):
        assert main([str(argument) for argument in argv]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


@pytest.fixture
def refused(capsys, tmp_path):
    """Runs the command on bad input; returns its one-line error. No file is created."""

    def run(*argv):
        before = sorted(tmp_path.rglob("*"))
        assert main([str(argument) for argument in argv]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1, error
        assert sorted(tmp_path.rglob("*")) == before
        return error[len("error: ") : -1]

    return run


def ids(frames):
    return [frame.id for frame in frames]


def snapshot(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# ---- complete sets


def test_v1_is_converted_to_a_valid_data_folder(tmp_path, prepare):
    source = write_v1(tmp_path / "src", videos=8)
    out = prepare("youtube-objects-v1", source, tmp_path / "dst")
    data = open_data(tmp_path / "dst")
    assert data.classes == ("cat", "horse")
    assert data.notes == ()
    assert ids(data.test) == [
        f"{name}/data/0008/shots/{shot}/frame0001.jpg"
        for name in ("cat", "horse")
        for shot in ("001", "002")
    ]
    assert data.test[0].boxes == ((1, 2, 30, 40), (5.5, 6.5, 20.25, 30))
    assert [frame.label for frame in data.test] == [0, 0, 1, 1]
    val = {frame.video for frame in data.val}
    train = {shot.video for shot in data.train}
    for name in data.classes:  # five of the seven that are not for testing
        assert sum(video.startswith(name) for video in val) == 5
        assert sum(video.startswith(name) for video in train) == 2
    assert not val & train
    assert not any(video.endswith("0008") for video in val | train)
    assert all(len(shot.frames) == 3 for shot in data.train)
    assert "found: 2 classes, 16 videos, 32 shots, 96 frames" in out
    assert "not compared, 2 of 10 classes found" in out
    assert "note:" not in out


def test_v2_is_converted_to_a_valid_data_folder(tmp_path, prepare):
    source = write_v2(tmp_path / "src")
    out = prepare("youtube-objects-v2.2", source, tmp_path / "dst")
    data = open_data(tmp_path / "dst")
    assert data.notes == ()
    assert ids(data.test) == [
        f"{name}/video-0002/shot-{frame}.jpg"
        for name in ("cat", "horse")
        for frame in ("000002/00000009", "000003/00000014")
    ]
    assert data.test[1].boxes == ((3, 4, 5, 6), (4, 4, 6, 6))
    val, train = {frame.video for frame in data.val}, {shot.video for shot in data.train}
    assert (len(val), len(train), len(val & train)) == (6, 2, 0)
    assert {len(shot.frames) for shot in data.train} == {4}
    assert "found: 2 classes, 10 videos, 20 shots, 80 frames" in out
    assert "test 4 frames with 6 boxes" in out


@pytest.mark.parametrize("how", ["tar", "gztar", "zip"])
@pytest.mark.parametrize("command", WRITERS)
def test_archives_and_folders_give_the_same_result(tmp_path, prepare, command, how):
    source = WRITERS[command](tmp_path / "src")
    prepare(command, source, tmp_path / "from folders")
    before = snapshot(source)
    packed = pack(source, tmp_path / "packed", how)
    out = prepare(command, packed, tmp_path / "from archives")
    assert snapshot(tmp_path / "from archives") == snapshot(tmp_path / "from folders")
    assert " moved\n" in out
    assert snapshot(source) == before
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["from archives", "from folders", "packed", "src"]


def test_a_single_archive_may_contain_the_whole_set(tmp_path, prepare):
    write_v2(tmp_path / "src" / "YouTube-Objects")
    archive = shutil.make_archive(str(tmp_path / "all"), "gztar", tmp_path / "src")
    prepare("youtube-objects-v2.2", archive, tmp_path / "dst")
    assert len(open_data(tmp_path / "dst").test) == 4


def test_an_archive_without_a_class_folder_is_of_the_class_it_is_named_after(tmp_path, prepare):
    source = write_v1(tmp_path / "src")
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in ("cat", "horse"):
        shutil.make_archive(str(packed / name), "tar", source / name)
    prepare("youtube-objects-v1", packed, tmp_path / "dst")
    prepare("youtube-objects-v1", source, tmp_path / "same")
    assert snapshot(tmp_path / "dst") == snapshot(tmp_path / "same")


def test_frames_are_hard_linked_or_copied_unchanged(tmp_path, prepare, monkeypatch):
    source = write_v1(tmp_path / "src")
    shot = "cat/data/0001/shots/002/frame0002.jpg"
    out = prepare("youtube-objects-v1", source, tmp_path / "linked")
    assert "frames: 60 hard-linked" in out
    assert (tmp_path / "linked" / shot).samefile(source / shot)
    monkeypatch.setattr("os.link", no_link)
    out = prepare("youtube-objects-v1", source, tmp_path / "copied")
    assert "frames: 60 copied" in out
    assert not (tmp_path / "copied" / shot).samefile(source / shot)
    assert snapshot(tmp_path / "copied") == snapshot(tmp_path / "linked")


def no_link(*_):
    raise OSError(18, "Invalid cross-device link")


@pytest.mark.parametrize("command", WRITERS)
def test_the_seed_draws_the_validation_videos(tmp_path, prepare, command):
    writer = {"youtube-objects-v1": lambda root: write_v1(root, videos=9)}.get(command, write_v2)
    source = writer(tmp_path / "src")
    drawn = []
    for place, seed in enumerate((0, 0, 1, 2, 3)):
        prepare(command, source, tmp_path / f"{place}", "--seed", seed)
        drawn.append({frame.video for frame in open_data(tmp_path / f"{place}").val})
    assert drawn[0] == drawn[1]
    assert len({frozenset(videos) for videos in drawn}) > 1


# ---- known faults


def test_faults_of_v1_are_corrected_and_counted(tmp_path, prepare):
    source = write_v1(tmp_path / "src", videos=8)
    horse, cat = (source / name / "data/0008/shots" for name in ("horse", "cat"))
    savemat(horse / "001/frame0001.jpg_sticks.mat", {"coor": cells((30, 2, 1, 40), (1, 1, 2, 2))})
    savemat(cat / "001/frame0001.jpg_sticks.mat", {"coor": cells((-3, 2, 70, 40))})
    (cat / "003").mkdir()
    (source / "cat/data/0001/shots/001/frame0002.jpg").write_bytes(b"")
    (cat / "002/frame0001.jpg").write_bytes(b"")
    out = prepare("youtube-objects-v1", source, tmp_path / "dst")
    data = open_data(tmp_path / "dst")
    assert data.notes == ()
    boxes = {frame.id: frame.boxes for frame in data.test}
    assert boxes["horse/data/0008/shots/001/frame0001.jpg"] == ((1, 2, 30, 40), (1, 1, 2, 2))
    assert boxes["cat/data/0008/shots/001/frame0001.jpg"] == ((0, 2, 64, 40),)
    assert len(boxes) == 3
    horse_id, cat_id = (f"{name}/data/0008/shots" for name in ("horse", "cat"))
    for line in (
        f"boxes with swapped corners corrected: 1 (first: {horse_id}/001/frame0001.jpg)",
        f"boxes exceeding the image clamped to it: 1 (first: {cat_id}/001/frame0001.jpg)",
        f"empty shots skipped: 1 (first: {cat_id}/003)",
        "zero-byte frames skipped: 2 (first: cat/data/0001/shots/001/frame0002.jpg)",
        f"boxed frames that are missing or empty, skipped: 1 (first: {cat_id}/002/frame0001.jpg)",
    ):
        assert f"note: {line}\n" in out
    assert out.count("note:") == 5
    assert "33 shots, 96 frames" in out


def test_lists_that_do_not_match_the_videos_are_counted(tmp_path, prepare):
    source = write_v1(tmp_path / "src", videos=8)
    (source / "cat/sets/train.txt").write_text("1\n0002\n0003\n0004\n0005\n0006\n0008\n0077\n")
    out = prepare("youtube-objects-v1", source, tmp_path / "dst")
    for line in (
        "listed videos that are missing: 1 (first: cat/data/0077)",
        "videos in neither list, used for training: 1 (first: cat/data/0007)",
        "videos in both lists, used for testing: 1 (first: cat/data/0008)",
    ):
        assert f"note: {line}\n" in out


def test_a_frame_in_two_shots_of_v2_is_kept_in_the_first_and_counted(tmp_path, prepare):
    source = write_v2(tmp_path / "src")
    file = source / "Ranges/ranges_horse.mat"
    ranges = np.array([[1, 4, 9], [4, 8, 40], [1, 1, 2]], np.uint16)
    savemat(file, {"ranges": ranges})
    (source / "GroundTruth/horse/bb_gtTraining_horse.mat").unlink()
    training = pairs(("horse00000002", [(1, 1, 5, 5)]))
    savemat(source / "GroundTruth/horse/bb_gtTraining_horse.mat", {"boxes": training})
    out = prepare("youtube-objects-v2.2", source, tmp_path / "dst")
    line = "frames in two shots, kept in the first: 1"
    assert f"note: {line} (first: horse/video-0001/shot-000001/00000004.jpg)\n" in out
    shots = {
        s.id: [Path(p).name for p in s.frames.paths] for s in open_data(tmp_path / "dst").train
    }
    assert shots["horse/video-0001/shot-000000"][-1] == "00000004.jpg"
    assert shots["horse/video-0001/shot-000001"][0] == "00000005.jpg"
    assert "classes with fewer than 3 validation videos: 1 (first: horse, 0)" in out


def test_gaps_of_v2_are_counted(tmp_path, prepare):
    source = write_v2(tmp_path / "src")
    for number in (1, 9, 37, 38, 39, 40):
        (source / "cat" / f"{number:08d}.jpg").unlink()
    (source / "cat/00000014.jpg").write_bytes(b"")
    picture(source / "cat/00000050.jpg")
    (source / "GroundTruth/dog").mkdir()
    savemat(source / "Ranges/ranges_dog.mat", {"ranges": np.zeros((3, 0))})
    test = pairs(("cat00000010", [(1, 2, 3, 4)]), ("cat00000014", []), ("cat00000009", []))
    savemat(source / "GroundTruth/cat/bb_gtTest_cat.mat", {"bb": test})
    out = prepare("youtube-objects-v2.2", source, tmp_path / "dst")
    for line in (
        "classes with tables but without frames, skipped: 1 (first: dog)",
        "missing frames of shots: 6 (first: cat/video-0001/shot-000000)",
        "zero-byte frames skipped: 1 (first: cat/video-0002/shot-000003/00000014.jpg)",
        "empty shots skipped: 1 (first: cat/video-0005/shot-000009)",
        "frames in no shot, skipped: 1 (first: cat/00000050.jpg)",
        "boxed frames that are missing, empty or in no shot, skipped: 2 (first: cat00000009)",
    ):
        assert f"note: {line}\n" in out
    data = open_data(tmp_path / "dst")
    assert ids(data.test)[0] == "cat/video-0002/shot-000002/00000010.jpg"
    assert len(data.test) == 3


def test_a_complete_set_is_compared_with_the_published_numbers(tmp_path, prepare, monkeypatch):
    source = write_v1(tmp_path / "src")
    here = {"classes": 2, "videos": 10, "shots": 20, "frames": 60, "test videos": 2}
    numbers = here | {"test frames": 4, "test boxes": 6}
    set_numbers(monkeypatch, numbers)
    out = prepare("youtube-objects-v1", source, tmp_path / "same")
    assert "published numbers: all equal\n" in out
    set_numbers(monkeypatch, numbers | {"shots": 5507, "test boxes": 396})
    out = prepare("youtube-objects-v1", source, tmp_path / "other")
    assert "published numbers: shots 20 instead of 5507, test boxes 6 instead of 396\n" in out


def set_numbers(monkeypatch, numbers):
    v1 = replace(SETS["youtube-objects-v1"], numbers=numbers)
    monkeypatch.setitem(SETS, "youtube-objects-v1", v1)


# ---- given split files


def write_splits(folder, train, val=(), test=(), classes=("cat", "horse")):
    folder.mkdir(parents=True)
    write_class_ids(folder / "class_id.yaml", classes)
    for name, records in {"train": train, "val": val, "test": test}.items():
        write_split(folder / name, records)
    return folder


def test_given_split_files_are_used_unchanged(tmp_path, prepare):
    source = write_v2(tmp_path / "src")
    shutil.rmtree(source / "GroundTruth")  # boxes come from the split files then
    shot = "horse/video-0003/shot-000004"
    train = [SplitRecord("cat/video-0001/shot-000000", 1, None, ())]
    val = [SplitRecord(f"{shot}/00000018.jpg", 0, SIZE, ((1.5, 2, 3, 4),))]
    test = [SplitRecord("cat/video-0002/shot-000002/00000009.jpg", 1, None, ((9, 8, 2, 99),))]
    splits = write_splits(tmp_path / "splits", train, val, test, classes=("horse", "cat"))
    prepare("youtube-objects-v2.2", source, tmp_path / "dst", "--splits", splits)
    written = tmp_path / "dst" / "splits"
    assert read_split(written / "train") == train
    assert read_split(written / "val") == val
    assert read_split(written / "test") == [SplitRecord(test[0].id, 1, SIZE, ((2, 8, 9, 48),))]
    assert open_data(tmp_path / "dst").classes == ("horse", "cat")
    assert not (written / "missing_ids.txt").exists()
    assert len(list((tmp_path / "dst").rglob("*.jpg"))) == 80


def test_missing_ids_of_given_split_files_are_listed(tmp_path, prepare):
    source = write_v1(tmp_path / "src")
    shots = [f"cat/data/0001/shots/{number:03d}" for number in range(1, 30)]
    test = [SplitRecord(f"{shots[0]}/frame0009.jpg", 0, SIZE, ((1, 2, 3, 4),))]
    train = [SplitRecord(shot, 0, None, ()) for shot in shots]
    splits = write_splits(tmp_path / "splits", train, (), test)
    out = prepare("youtube-objects-v1", source, tmp_path / "dst", "--splits", splits)
    missing = [*shots[2:], test[0].id]
    assert f"ids of --splits not in the set: {len(missing)}, listed in " in out
    assert all(f"note: {name}\n" in out for name in missing[:20])
    written = tmp_path / "dst" / "splits"
    assert (written / "missing_ids.txt").read_text().split() == missing
    assert [record.id for record in read_split(written / "train")] == shots[:2]
    assert read_split(written / "test") == []


def boxed(folder):
    """Numbers of frames and boxes of a split."""
    records = read_split(folder)
    return len(records), sum(len(record.boxes) for record in records)


def test_published_split_files_keep_all_frames_of_v1(tmp_path, prepare, shared):
    """The set has all frames of val and test, and some of the training shots."""
    splits = shared / "splits" / "YouTube-Objects-v1.0"
    source = tmp_path / "src"
    picture(tmp_path / "frame.jpg")
    frames = [record.id for split in ("val", "test") for record in read_split(splits / split)]
    train = [f"{record.id}/frame0001.jpg" for record in read_split(splits / "train")[::100]]
    for name in (*frames, *train):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).hardlink_to(tmp_path / "frame.jpg")
    out = prepare("youtube-objects-v1", source, tmp_path / "dst", "--splits", splits)
    written = tmp_path / "dst" / "splits"
    assert boxed(written / "test") == (346, 396)
    assert boxed(written / "val") == (325, 347)
    assert "boxes exceeding the image clamped to it: 13 " in out
    what = "boxes scaled to frames whose size differs from image_sizes.txt"
    assert open_data(tmp_path / "dst").notes == (f"val: 347 {what}", f"test: 396 {what}")


def test_published_split_files_keep_all_frames_of_v2(tmp_path, prepare, shared):
    """As for v1; the range of a shot spans its listed frames."""
    splits = shared / "splits" / "YouTube-Objects-v2.2"
    source = tmp_path / "src"
    picture(tmp_path / "frame.jpg")
    numbers = {}  # of frames, by (class, video, shot)
    for split in ("val", "test"):
        for record in read_split(splits / split):
            name, video, shot, frame = record.id.split("/")
            key = name, int(video[-4:]), int(shot[-6:])
            numbers.setdefault(key, []).append(int(frame[:8]))
            (source / name).mkdir(parents=True, exist_ok=True)
            (source / name / frame).hardlink_to(tmp_path / "frame.jpg")
    train = [record.id for record in read_split(splits / "train")][::100]
    for place, shot in enumerate(train):
        name, video, number = shot.split("/")
        numbers[name, int(video[-4:]), int(number[-6:])] = [90_000_000 + place]
        (source / name / f"{90_000_000 + place:08d}.jpg").hardlink_to(tmp_path / "frame.jpg")
    (source / "Ranges").mkdir()
    for name in {name for name, _, _ in numbers}:
        of_class = {shot: (min(f), max(f), v) for (n, v, shot), f in numbers.items() if n == name}
        nothing = (99_999_999, 99_999_999, 1)
        ranges = [of_class.get(shot, nothing) for shot in range(max(of_class) + 1)]
        savemat(source / "Ranges" / f"ranges_{name}.mat", {"ranges": np.array(ranges).T})
    prepare("youtube-objects-v2.2", source, tmp_path / "dst", "--splits", splits)
    written = tmp_path / "dst" / "splits"
    assert boxed(written / "test") == (1781, 2667)
    assert boxed(written / "val") == (1177, 1177)
    assert [record.id for record in read_split(written / "train")] == train
    what = "boxes scaled to frames whose size differs from image_sizes.txt"
    assert open_data(tmp_path / "dst").notes == (f"val: 1177 {what}", f"test: 2667 {what}")


# ---- split files of a data folder


def test_exported_split_files_give_the_same_data_set(tmp_path, prepare, make_frames):
    data = tmp_path / "my data"
    for name in ("Möwe", "dog"):
        for video in range(4):
            make_frames(data / name / f"{video}, tape", 5)
    boxes = "Möwe/%d, tape"
    lines = "".join(f'"{boxes % i}",{i},1,2,33.5,200\n' for i in range(4))
    (data / "boxes.csv").write_text("video,frame,x0,y0,x1,y1\n" + lines, encoding="utf-8")
    before = open_data(data, seed=3)
    out = prepare("splits", data, "--seed", 3)
    after = open_data(data)
    assert after.classes == before.classes
    assert after.train == before.train
    for old, new in ((before.val, after.val), (before.test, after.test)):
        assert [(f.label, f.video, f.boxes) for f in new] == [
            (f.label, f.video, f.boxes) for f in old
        ]
        assert [f.frames.paths[f.index] for f in new] == [f.frames.paths[f.index] for f in old]
    assert after.notes == ()
    assert "note: videos split within each class by seed 3" in out
    sizes = "train 4 shots; val 6 frames with 1 box; test 6 frames with 1 box"
    assert f"{data / 'splits'}: {sizes}\n" in out


def test_video_files_without_frames_option_raise(tmp_path, refused, make_video, make_frames):
    make_video(tmp_path / "cat" / "a.mp4")
    make_frames(tmp_path / "cat" / "b")
    message = refused("splits", tmp_path)
    assert message.startswith(
        f"{tmp_path / 'cat' / 'a.mp4'}: 1 video of this data folder is a file"
    )


def test_video_files_are_converted_to_folders_of_frames(
    tmp_path, prepare, make_video, make_frames, numbers
):
    data = tmp_path / "data"
    for video in range(3):
        make_video(data / "sea lion" / f"{video}.mp4", 6)
    make_frames(data / "cat" / "a", 4)
    (data / "boxes.csv").write_text(
        "video,frame,x0,y0,x1,y1\ncat/a,3,1,2,30,40\n"
        + "".join(f"sea lion/{video}.mp4,{2 + video},5,6,7,8\n" for video in range(3))
    )
    before, contents = open_data(data), snapshot(data)
    out = prepare("splits", data, "--frames", tmp_path / "new")
    after = open_data(tmp_path / "new")
    assert snapshot(data) == contents
    assert after.classes == before.classes
    for old, new in zip(before.train, after.train, strict=True):
        assert (new.id, new.label, new.video) == (old.id, old.label, old.video)
        assert numbers(new.frames) == numbers(old.frames)
    for old, new in zip(before.val + before.test, after.val + after.test, strict=True):
        assert (new.label, new.video, new.boxes) == (old.label, old.video, old.boxes)
        assert numbers(new.frames.read([0])) == numbers(old.frames.read([old.index]))
    assert after.notes == (
        "1 of 2 val frames is in a training shot (first: cat/a/0003.jpg)",
        "1 of 2 test frames is in a training shot (first: cat/a/0003.jpg)",
        "1 of 2 test frames is in val as well (first: cat/a/0003.jpg)",
    )
    assert "frames: 4 hard-linked, 18 decoded\n" in out
    assert "train 2 shots; val 2 frames with 2 boxes; test 2 frames with 2 boxes" in out


def test_frames_are_written_atomically(tmp_path, refused, make_video, monkeypatch):
    make_video(tmp_path / "data" / "cat" / "a.mp4", 6)
    argv = ["splits", tmp_path / "data", "--frames"]
    assert "exists already" in refused(*argv, tmp_path / "data")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left on device; nothing was written to" in refused(*argv, tmp_path / "new")


def test_split_files_are_not_overwritten(tmp_path, refused, make_frames):
    make_frames(tmp_path / "cat" / "a")
    assert main(["splits", str(tmp_path)]) == 0
    assert refused("splits", tmp_path).startswith(f"{tmp_path / 'splits'}: exists already")
    assert refused("splits", tmp_path / "none").startswith(f"{tmp_path / 'none'}: no such folder")


# ---- help


@pytest.mark.parametrize(
    ("script", "program"),
    [
        ("/venv/bin/colocam-prepare", "colocam-prepare"),
        ("/venv/lib/colocam/prepare.py", "python -m colocam.prepare"),
    ],
)
def test_help_shows_the_program_name_as_called(monkeypatch, capsys, script, program):
    monkeypatch.setattr("sys.argv", [script])
    for argv, usage in (([], "[-h] COMMAND"), (["splits"], "splits [-h]")):
        with pytest.raises(SystemExit) as done:
            main([*argv, "--help"])
        assert done.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: {program} {usage}")


# ---- bad input


def tar_of(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            data = b"data" if kind == tarfile.REGTYPE else b""
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("name", "kind", "link", "what"),
    [
        ("../out.jpg", tarfile.REGTYPE, "", "a path outside the target folder"),
        ("cat/../../out.jpg", tarfile.REGTYPE, "", "a path outside the target folder"),
        ("/tmp/out.jpg", tarfile.REGTYPE, "", "a path outside the target folder"),
        ("C:\\out.jpg", tarfile.REGTYPE, "", "a path outside the target folder"),
        ("..\\out.jpg", tarfile.REGTYPE, "", "a path outside the target folder"),
        ("cat/a.jpg", tarfile.SYMTYPE, "/etc/hostname", "a link out of the archive"),
        ("cat/a.jpg", tarfile.SYMTYPE, "../../../secret", "a link out of the archive"),
        ("cat/a.jpg", tarfile.SYMTYPE, "a.jpg", "a link out of the archive or to no file"),
        ("cat/a.jpg", tarfile.LNKTYPE, "/etc/hostname", "a link out of the archive"),
        ("cat/a.jpg", tarfile.LNKTYPE, "cat/none.jpg", "a link out of the archive or to no file"),
        ("cat/a.jpg", tarfile.CHRTYPE, "", "not a file"),
        ("cat/a.jpg", tarfile.FIFOTYPE, "", "not a file"),
    ],
)
def test_unsafe_members_of_a_tar_are_refused(tmp_path, refused, name, kind, link, what):
    (tmp_path / "src").mkdir()
    archive = tar_of(tmp_path / "src" / "cat.tar.gz", (name, kind, link))
    message = refused("youtube-objects-v1", tmp_path / "src", tmp_path / "dst")
    assert message.startswith(f"{archive}: not unpacked: its member {name!r} is {what}")


def test_a_link_within_an_archive_is_replaced_by_its_file(tmp_path, prepare):
    source = write_v2(tmp_path / "src", classes=("cat",))
    frame = source / "cat/00000003.jpg"
    frame.unlink()
    frame.symlink_to("00000004.jpg")
    packed = pack(source, tmp_path / "packed", "tar")
    prepare("youtube-objects-v2.2", packed, tmp_path / "dst", "--seed", 4)
    shot = tmp_path / "dst/cat/video-0001/shot-000000"
    assert not (shot / "00000003.jpg").is_symlink()
    assert (shot / "00000003.jpg").read_bytes() == (shot / "00000004.jpg").read_bytes()


@pytest.mark.parametrize(
    ("name", "mode", "what"),
    [
        ("../out.jpg", 0o100644, "a path outside the target folder"),
        ("/tmp/out.jpg", 0o100644, "a path outside the target folder"),
        ("C:/out.jpg", 0o100644, "a path outside the target folder"),
        ("cat/a.jpg", 0o120777, "a link"),
        ("cat/a.jpg", 0o010644, "not a file"),
    ],
)
def test_unsafe_members_of_a_zip_are_refused(tmp_path, refused, name, mode, what):
    archive = tmp_path / "cat.zip"
    with zipfile.ZipFile(archive, "w") as members:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        members.writestr(member, "/etc/hostname")
    message = refused("youtube-objects-v1", archive, tmp_path / "dst")
    assert message == f"{archive}: not unpacked: its member {name!r} is {what}"


@pytest.mark.parametrize("how", ["tar", "gztar", "bztar", "xztar", "zip"])
def test_a_truncated_or_damaged_archive_is_named(tmp_path, refused, how):
    source = write_v1(tmp_path / "src", classes=("cat",), videos=1)
    whole = Path(shutil.make_archive(str(tmp_path / "cat"), how, source))
    data = whole.read_bytes()
    end = 5 * 512 if how == "tar" else 1  # a tar's last blocks are padding
    damaged = [data[:length] for length in (0, 100, len(data) // 2, len(data) - 10240 - end)]
    if how == "gztar":
        damaged = [
            *damaged[:3],
            data[:-6],
            data[: len(data) // 2] + b"\0\1" + data[len(data) // 2 + 2 :],
        ]
    if how == "tar":
        flipped = bytearray(data)
        flipped[data.index(b"frame0002.jpg")] ^= 1  # found by the checksum of its header
        damaged = [*damaged[1:], bytes(flipped)]
    for part in damaged:
        whole.write_bytes(part)
        message = refused("youtube-objects-v1", whole, tmp_path / "dst")
        assert message.startswith(f"{whole}: damaged or not an archive"), message


def test_a_missing_source_or_unsupported_file_is_named(tmp_path, refused):
    command = "youtube-objects-v1"
    assert f"{tmp_path / 'no'}: no such folder" in refused(command, tmp_path / "no", tmp_path / "d")
    (tmp_path / "file.txt").write_text("text")
    message = refused(command, tmp_path / "file.txt", tmp_path / "d")
    assert message.startswith(f"{tmp_path / 'file.txt'}: neither a folder nor an archive")


@pytest.mark.parametrize("command", WRITERS)
def test_a_folder_of_another_layout_is_named(tmp_path, refused, command):
    picture(tmp_path / "src" / "cat" / "a" / "1.jpg")
    message = refused(command, tmp_path / "src", tmp_path / "dst")
    assert message.startswith(f"{tmp_path / 'src'}: holds no frames laid out as")


def test_the_target_must_be_new_or_empty(tmp_path, refused, prepare):
    source = write_v1(tmp_path / "src")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    message = refused("youtube-objects-v1", source, full)
    assert message == f"{full}: exists already; give a new or an empty folder"
    assert "mine.txt: exists already" in refused("youtube-objects-v1", source, full / "mine.txt")
    (full / "mine.txt").unlink()
    prepare("youtube-objects-v1", source, full)
    prepare("youtube-objects-v1", source, tmp_path / "new" / "deep")
    assert snapshot(full) == snapshot(tmp_path / "new" / "deep")


def test_the_folder_of_a_killed_command_is_named(tmp_path, refused):
    source = write_v1(tmp_path / "src")
    (tmp_path / ".dst-unfinished").mkdir()
    message = refused("youtube-objects-v1", source, tmp_path / "dst")
    assert message.startswith(f"{tmp_path / '.dst-unfinished'}: left by an interrupted command")


@pytest.mark.parametrize(
    "missing",
    [
        "Ranges/ranges_cat.mat",
        "GroundTruth/cat/bb_gtTest_cat.mat",
        "GroundTruth/cat/bb_gtTraining_cat.mat",
    ],
)
def test_a_missing_table_of_v2_is_named(tmp_path, refused, missing):
    source = write_v2(tmp_path / "src")
    (source / missing).unlink()
    message = refused("youtube-objects-v2.2", source, tmp_path / "new" / "dst")
    assert message.startswith(f"{missing}: not found")


def test_v1_without_boxes_or_lists_is_refused(tmp_path, refused):
    source = write_v1(tmp_path / "src")
    for file in source.rglob("*.mat"):
        file.unlink()
    message = refused("youtube-objects-v1", source, tmp_path / "dst")
    assert message.startswith("no frame of a test video has boxes")
    (source / "horse/sets/test.txt").unlink()
    message = refused("youtube-objects-v1", source, tmp_path / "dst")
    assert message.startswith("horse/sets/test.txt: not found")


MALFORMED = {
    "empty": b"",
    "text": b"no mat at all, only text of several words" * 9,
    "another variable": {"boxes": np.zeros((3, 4))},
    "text inside": {"coor": "text", "ranges": "text"},
    "wrong shape": {"coor": np.zeros((2, 3)), "ranges": np.zeros((2, 5))},
    "no numbers": {"coor": cells((1, 2, np.nan, 4)), "ranges": np.full((3, 2), np.nan)},
    "three values": {"coor": np.array([[np.zeros(3)]], object), "ranges": np.zeros(3)},
}


@pytest.mark.parametrize("kind", MALFORMED)
@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("youtube-objects-v1", "cat/data/0001/shots/001/frame0001.jpg_sticks.mat"),
        ("youtube-objects-v2.2", "Ranges/ranges_cat.mat"),
        ("youtube-objects-v2.2", "GroundTruth/cat/bb_gtTest_cat.mat"),
    ],
)
def test_a_malformed_mat_file_is_named(tmp_path, refused, command, file, kind):
    source = WRITERS[command](tmp_path / "src")
    content = MALFORMED[kind]
    if isinstance(content, bytes):
        (source / file).write_bytes(content)
    else:
        savemat(source / file, content)
    message = refused(command, source, tmp_path / "dst")
    assert message.startswith(f"{source / file}: ")


def test_a_truncated_mat_file_is_named(tmp_path, refused):
    source = write_v2(tmp_path / "src")
    for file in ("Ranges/ranges_cat.mat", "GroundTruth/horse/bb_gtTest_horse.mat"):
        whole = (source / file).read_bytes()
        for length in (60, 140, len(whole) // 2, len(whole) - 1):
            (source / file).write_bytes(whole[:length])
            message = refused("youtube-objects-v2.2", source, tmp_path / "dst")
            assert message.startswith(f"{source / file}: damaged or not a MATLAB file"), message
        (source / file).write_bytes(whole)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ([5, 4, 1], "invalid shot: frame 5 to 4"),
        ([-1, 4, 1], "invalid shot: frame -1 to 4"),
        ([1.5, 4, 1], "must contain whole numbers"),
    ],
)
def test_invalid_ranges_are_named(tmp_path, refused, change, what):
    source = write_v2(tmp_path / "src")
    savemat(source / "Ranges/ranges_cat.mat", {"ranges": np.array([change], float).T})
    assert what in refused("youtube-objects-v2.2", source, tmp_path / "dst")


def test_an_id_of_another_class_is_named(tmp_path, refused):
    source = write_v2(tmp_path / "src")
    file = source / "GroundTruth/cat/bb_gtTest_cat.mat"
    savemat(file, {"bb": pairs(("dog00000009", [(1, 2, 3, 4)]))})
    message = refused("youtube-objects-v2.2", source, tmp_path / "dst")
    assert message == f"{file}: the id 'dog00000009' is not 'cat' and 8 digits"


@pytest.mark.parametrize("command", WRITERS)
def test_a_class_in_two_folders_is_named(tmp_path, refused, command):
    source = WRITERS[command](tmp_path / "src", classes=("cat",))
    shutil.copytree(source / "cat", source / "again" / "cat")
    assert "cat" in refused(command, source, tmp_path / "dst")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, refused, monkeypatch):
    source = write_v1(tmp_path / "src")
    locked = source / "cat/data/0002"
    scandir = source_set.os.scandir

    def refuse(folder):
        if str(folder) == str(locked):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(source_set.os, "scandir", refuse)
    message = refused("youtube-objects-v1", source, tmp_path / "dst")
    assert message == f"{locked}: cannot be listed (Permission denied)"


def test_a_full_disk_leaves_nothing_behind(tmp_path, refused, monkeypatch):
    source = write_v1(tmp_path / "src")
    packed = pack(source, tmp_path / "packed", "tar")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    message = refused("youtube-objects-v1", packed, tmp_path / "dst")
    assert "No space left on device; nothing was written to" in message
    monkeypatch.undo()
    monkeypatch.setattr("os.link", no_link)
    monkeypatch.setattr("shutil.copyfile", full)
    message = refused("youtube-objects-v1", source, tmp_path / "dst")
    assert "No space left on device; nothing was written to" in message


def test_wrong_arguments_are_named(tmp_path, refused):
    source = write_v1(tmp_path / "src")
    argv = ["youtube-objects-v1", source, tmp_path / "dst"]
    assert "--seed -1" in refused(*argv, "--seed", -1)
    assert f"{tmp_path / 'none'}: no such folder" in refused(*argv, "--splits", tmp_path / "none")
    (tmp_path / "splits").mkdir()
    assert "class_id.yaml: cannot be read" in refused(*argv, "--splits", tmp_path / "splits")
    shutil.rmtree(tmp_path / "splits")
    write_splits(tmp_path / "splits", [SplitRecord("dog/data/0001/shots/001", 0, None, ())])
    assert "not one of its shots is in the set" in refused(*argv, "--splits", tmp_path / "splits")
    assert "youtube-objects-v3" in refused("youtube-objects-v3", source, tmp_path / "dst")
    assert "DST" in refused("youtube-objects-v1", source)


def test_missing_scipy_is_named_with_the_package_to_install(tmp_path, refused, monkeypatch):
    source = write_v1(tmp_path / "src")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = refused("youtube-objects-v1", source, tmp_path / "dst")
    assert "pip install scipy" in message


def test_ctrl_c_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    source = write_v1(tmp_path / "src")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("colocam.cli.prepare.place_frames", interrupt)
    assert main(["youtube-objects-v1", str(source), str(tmp_path / "new" / "dst")]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["src"]

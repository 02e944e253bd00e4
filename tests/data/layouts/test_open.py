"""Opening data sets: plain folders, split files, invalid input."""

import pickle

import cv2
import pytest

from colocam.data.layouts.open import open_data
from colocam.data.layouts.split_files import SplitRecord, write_class_ids, write_split
from colocam.runtime.errors import UserError

HEAD = "video,frame,x0,y0,x1,y1\n"


def refused(data, *args, **kwargs):
    """Message of the error that `open_data` raises."""
    with pytest.raises(UserError) as error:
        open_data(data, *args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(tmp_path, make_video, make_frames):
    """Two classes of two videos: one of files, one of folders of frames."""
    data = tmp_path / "data"
    for name in ("a", "b"):
        make_video(data / "dog" / f"{name}.mp4")
        make_frames(data / "cat" / name)
    return data


@pytest.fixture
def large_folder(tmp_path, make_frames):
    """One class of ten videos and one of three, in folders of frames."""
    data = tmp_path / "data"
    for number in range(10):
        make_frames(data / "cat" / f"{number}", 20)
    for number in range(3):
        make_frames(data / "dog" / f"{number}", 3)
    return data


# ---- plain folders: records


def test_a_video_of_a_plain_folder_is_a_shot_with_its_class_as_label(folder, numbers):
    data = open_data(folder)
    assert data.classes == ("cat", "dog")
    assert [(shot.id, shot.video, shot.label, len(shot.frames)) for shot in data.train] == [
        ("cat/a", "cat/a", 0, 12),
        ("cat/b", "cat/b", 0, 12),
        ("dog/a.mp4", "dog/a.mp4", 1, 12),
        ("dog/b.mp4", "dog/b.mp4", 1, 12),
    ]
    for shot in data.train:
        assert numbers(shot.frames.read([3, 11])) == [3, 11]
        assert shot.frames.name == shot.video


def test_lines_of_one_frame_are_boxes_of_one_record(folder, numbers):
    (folder / "boxes.csv").write_text(
        HEAD + "dog/a.mp4,7,1,2,3,4\ncat/b,2,5,6,7,8\ndog/a.mp4,3,0,0,63,47\ndog/a.mp4,7,9,9,9,9\n"
    )
    data = open_data(folder)
    assert [(f.id, f.video, f.label, f.index, f.boxes) for f in data.test] == [
        ("cat/b#2", "cat/b", 0, 2, ((5, 6, 7, 8),)),
        ("dog/a.mp4#3", "dog/a.mp4", 1, 3, ((0, 0, 63, 47),)),
        ("dog/a.mp4#7", "dog/a.mp4", 1, 7, ((1, 2, 3, 4), (9, 9, 9, 9))),
    ]
    assert data.val == data.test
    assert [numbers(f.frames.read([f.index])) for f in data.test] == [[2], [3], [7]]
    assert len(data.notes) == 1
    assert "fewer than three videos in cat, dog" in data.notes[0]


def test_without_boxes_and_held_out_videos_training_videos_are_evaluated(folder):
    data = open_data(folder)
    assert {frame.video for frame in data.val} == {shot.video for shot in data.train}
    assert all(frame.boxes == () for frame in data.val)
    assert data.val == data.test
    assert (
        data.notes[-1]
        == "no boxes and no video to hold out: frames of training videos are used for evaluation"
    )


def test_hidden_files_are_ignored_and_other_files_in_classes_are_counted(folder):
    (folder / "README.md").write_text("about")
    (folder / "notes.txt").write_text("about")
    (folder / ".cache").mkdir()
    (folder / "cat" / ".DS_Store").write_bytes(b"\0")
    (folder / "cat" / "sources.txt").write_text("about")
    (folder / "cat" / "extracted").mkdir()
    data = open_data(folder)
    assert data.classes == ("cat", "dog")
    assert len(data.train) == 4
    assert data.notes[0] == "cat: 2 items ignored as not a video (first: extracted)"


def test_names_may_contain_any_characters_in_folders_and_boxes(tmp_path, make_video):
    data = tmp_path / "Filme, roh"
    (data / "Möwe 鳥").mkdir(parents=True)
    make_video(tmp_path / "v.mp4").rename(data / "Möwe 鳥" / "größte Möwe, 1.MP4")
    (data / "boxes.csv").write_text(
        HEAD + '"Möwe 鳥/größte Möwe, 1.MP4",2,1,2,3,4\n', encoding="utf-8"
    )
    opened = open_data(data)
    assert opened.classes == ("Möwe 鳥",)
    assert [(f.video, f.index) for f in opened.test] == [("Möwe 鳥/größte Möwe, 1.MP4", 2)]


def test_unicode_forms_of_names_may_differ_between_boxes_csv_and_folder(tmp_path, make_frames):
    composed, apart = "th\u00e9", "cafe\u0301"
    make_frames(tmp_path / "drink" / composed)
    make_frames(tmp_path / "drink" / apart)
    (tmp_path / "boxes.csv").write_text(
        HEAD + "drink/the\u0301,1,1,2,3,4\ndrink/caf\u00e9,2,1,2,3,4\n", encoding="utf-8"
    )
    found = {(frame.video, frame.index) for frame in open_data(tmp_path).test}
    assert found == {(f"drink/{composed}", 1), (f"drink/{apart}", 2)}


# ---- plain folders: splits


def test_classes_of_three_and_more_videos_are_split_without_overlap(large_folder):
    data = open_data(large_folder, seed=3)
    videos = {
        "train": {shot.video for shot in data.train},
        "val": {frame.video for frame in data.val},
        "test": {frame.video for frame in data.test},
    }
    by_class = {
        name: [sum(video.startswith(name) for video in videos[part]) for part in videos]
        for name in data.classes
    }
    assert by_class == {"cat": [6, 2, 2], "dog": [1, 1, 1]}
    assert len(set.union(*videos.values())) == 13
    assert data.notes == (
        "videos split within each class by seed 3: 7 train, 3 validation, 3 test",
    )


def test_the_split_depends_only_on_the_seed_and_the_class(large_folder, make_frames):
    first = open_data(large_folder, seed=0)
    assert open_data(large_folder, seed=0) == first
    splits = {tuple(s.id for s in open_data(large_folder, seed=seed).train) for seed in range(5)}
    assert len(splits) > 1
    for number in range(3):
        make_frames(large_folder / "ant" / f"{number}", 1)
    again = open_data(large_folder, seed=0)
    assert [s.id for s in again.train if "ant" not in s.id] == [s.id for s in first.train]
    assert [f.id for f in again.val if "ant" not in f.id] == [f.id for f in first.val]


def test_a_held_out_video_contributes_its_boxed_frames_or_eight_spaced_frames(large_folder):
    (large_folder / "boxes.csv").write_text(
        HEAD + "".join(f"cat/{i},{f},1,2,3,4\n" for i in range(5) for f in (19, 4))
    )
    data = open_data(large_folder)
    held_out = data.val + data.test
    for video in {frame.video for frame in held_out}:
        of_video = [frame for frame in held_out if frame.video == video]
        indices = [frame.index for frame in of_video]
        if video in {f"cat/{i}" for i in range(5)}:
            assert indices == [4, 19]
            assert all(frame.boxes == ((1, 2, 3, 4),) for frame in of_video)
        else:
            # middles of eight equal parts of 20 frames; all frames of a video of three
            expected = [1, 3, 6, 8, 11, 13, 16, 18] if "cat" in video else [0, 1, 2]
            assert indices == expected
            assert all(frame.boxes == () for frame in of_video)
    unused = sum(2 for shot in data.train if shot.video in {f"cat/{i}" for i in range(5)})
    assert f"boxes.csv: {unused} boxes of training videos not used" in data.notes


def test_all_videos_of_a_small_class_are_training_videos(large_folder, make_frames):
    make_frames(large_folder / "elk" / "only", 5)
    (large_folder / "boxes.csv").write_text(HEAD + "elk/only,4,1,2,3,4\n")
    data = open_data(large_folder)
    assert "elk/only" in {shot.video for shot in data.train}
    elk = [frame for frame in data.val if frame.video == "elk/only"]
    assert [(frame.index, frame.label) for frame in elk] == [(4, 2)]
    assert elk == [frame for frame in data.test if frame.video == "elk/only"]
    assert any("fewer than three videos in elk" in note for note in data.notes)


# ---- plain folders: invalid input


def test_boxes_that_exceed_the_image_are_clamped_and_counted(folder):
    (folder / "boxes.csv").write_text(
        HEAD + "cat/a,0,-3,-4,70,50\ncat/a,0,0,0,63,47\ndog/b.mp4,1,60,40,64,47\n"
    )
    data = open_data(folder)
    assert [frame.boxes for frame in data.test] == [
        ((0, 0, 63, 47), (0, 0, 63, 47)),
        ((60, 40, 63, 47),),
    ]
    assert data.notes[0] == "boxes.csv: 2 boxes exceeding the image clamped to it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,frame,box\n", "boxes.csv: the first line must be video,frame,x0,y0,x1,y1"),
        (HEAD + "cat/c,0,1,2,3,4\n", "boxes.csv, line 2: no video 'cat/c' in the folder"),
        (HEAD + "dog/a,0,1,2,3,4\n", "boxes.csv, line 2: no video 'dog/a' in the folder"),
        (HEAD + "cat/a,0,1,2,3,4\ncat/a,12,1,2,3,4\n", "boxes.csv, line 3: frame 12 of cat/a"),
        (HEAD + "dog/a.mp4,-1,1,2,3,4\n", "boxes.csv, line 2: frame -1 of dog/a.mp4"),
        (HEAD + "cat/a,0,1,2,x,4\n", "boxes.csv, line 2: x1 is not a number"),
        (HEAD + "cat/a,0,9,2,3,4\n", "boxes.csv, line 2: corners are swapped"),
        (HEAD + "cat/a,0,64,2,70,4\n", "boxes.csv, line 2: the box is outside the image"),
        (HEAD + "cat/a,0,1,-9,3,-2\n", "boxes.csv, line 2: the box is outside the image"),
        (HEAD + "cat/a,0,-9,1,-2,3\n", "boxes.csv, line 2: the box is outside the image"),
    ],
)
def test_an_invalid_line_of_boxes_csv_is_named(folder, text, message):
    (folder / "boxes.csv").write_text(text)
    assert refused(folder).startswith(f"{folder}/{message}")


def test_zero_byte_frames_are_counted_and_not_evaluated(folder, numbers):
    for name in ("0000.jpg", "0002.jpg"):
        (folder / "cat" / "a" / name).write_bytes(b"")
    (folder / "boxes.csv").write_text(HEAD + "cat/a,2,1,2,3,4\ncat/a,3,1,2,3,4\n")
    data = open_data(folder)
    assert data.notes[:2] == (
        "cat/a: 2 zero-byte frames skipped (first: 0000.jpg)",
        "cat/a: 1 frame with boxes cannot be decoded, skipped (first: 2)",
    )
    assert [frame.index for frame in data.test] == [3]
    assert numbers(data.train[0].frames.read([0, 1, 2])) == [None, 1, None]
    (folder / "boxes.csv").unlink()
    spaced = [frame.index for frame in open_data(folder).test if frame.video == "cat/a"]
    assert spaced == [3, 5, 6, 8, 9, 11]  # of 0, 2, 3, 5, 6, 8, 9, 11


def test_a_truncated_video_is_noted(folder, make_video):
    path = make_video(folder / "dog" / "cut.avi", 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert any(note.startswith("dog/cut.avi: promises 30") for note in open_data(folder).notes)


@pytest.fixture
def unusable(folder, make_video):
    """A folder with a truncated file, a text file named as a video, and empty frame files."""
    path = make_video(folder / "dog" / "cut.mp4", 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # the index is at the end
    (folder / "dog" / "text.mp4").write_text("this is no video")
    for path in (folder / "cat" / "b").iterdir():
        path.write_bytes(b"")
    return folder


def test_unusable_videos_are_skipped_with_their_boxes_and_counted(unusable):
    lines = "dog/a.mp4,1,1,2,3,4\ndog/cut.mp4,1,1,2,3,4\ncat/b,99,1,2,3,4\n"
    (unusable / "boxes.csv").write_text(HEAD + lines)
    data = open_data(unusable)
    assert [shot.id for shot in data.train] == ["cat/a", "dog/a.mp4", "dog/b.mp4"]
    assert [frame.id for frame in data.test] == ["dog/a.mp4#1"]
    first = f"{unusable}/cat/b: not one of its 12 frames can be decoded; replace them or take the"
    assert data.notes[0].startswith(f"3 of 6 videos are unusable and skipped (first: {first}")
    assert data.notes[1] == "boxes.csv: 2 boxes of skipped videos not used"


def test_a_class_without_a_usable_video_is_an_error(unusable):
    for name in ("a.mp4", "b.mp4"):
        (unusable / "dog" / name).unlink()
    assert refused(unusable) == (
        f"{unusable}/dog: no video of this class can be used; {unusable}/dog/cut.mp4: cannot be "
        "decoded; re-encode it or take it out"
    )


def test_boxes_past_the_end_of_a_truncated_video_are_skipped_and_counted(folder, make_video):
    path = make_video(folder / "dog" / "cut.avi", 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    lines = "".join(f"dog/cut.avi,{frame},1,2,3,4\n" for frame in (3, 28, 29))
    (folder / "boxes.csv").write_text(HEAD + lines)
    data = open_data(folder)
    note = "dog/cut.avi: 2 boxes of frames that do not decode skipped (first: frame 28)"
    assert note in data.notes
    assert "dog/cut.avi#28" not in {frame.id for frame in data.test}
    (folder / "boxes.csv").write_text(HEAD + "dog/cut.avi,30,1,2,3,4\n")
    assert "boxes.csv, line 2: frame 30 of dog/cut.avi, which has" in refused(folder)


def test_a_repeated_line_of_boxes_csv_is_one_box(folder):
    line = "cat/a,3,1,2,3,4\n"
    (folder / "boxes.csv").write_text(HEAD + line + "cat/a,3,1,2,3,5\n" + 2 * line)
    data = open_data(folder)
    assert [frame.boxes for frame in data.test] == [((1, 2, 3, 4), (1, 2, 3, 5))]
    assert data.notes[0] == "boxes.csv: 2 repeated lines skipped (first: line 4)"


def test_a_missing_or_empty_folder_is_an_error(tmp_path):
    assert refused(tmp_path / "no").startswith(f"{tmp_path / 'no'}: no such folder")
    assert refused(str(tmp_path)).startswith(f"{tmp_path}: holds no class folder")
    (tmp_path / "file").write_text("x")
    assert refused(tmp_path / "file").startswith(f"{tmp_path / 'file'}: not a folder")


def test_a_class_without_a_video_is_an_error(folder, make_frames):
    (folder / "elk" / "empty").mkdir(parents=True)
    (folder / "elk" / "README.txt").write_text("soon")
    message = refused(folder)
    assert message.startswith(f"{folder / 'elk'}: a class folder without a video; add a video")
    make_frames(folder / "elk")
    assert refused(folder).endswith("put its images in one folder per video")


def test_youtube_objects_without_split_files_is_an_error(tmp_path, make_frames):
    make_frames(tmp_path / "cat" / "data" / "0001" / "shots" / "001", 2)
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path}: has the layout of YouTube-Objects")
    assert "--splits" in message


# ---- split files


def shot_id(name, video, shot):
    return f"{name}/data/{video:04d}/shots/{shot:03d}"


@pytest.fixture
def youtube(tmp_path, make_frames):
    """Shots of two classes in the layout of YouTube-Objects, without split files."""
    data = tmp_path / "YTO v1"
    for name in ("cat", "sea lion"):
        for video in range(1, 4):
            for shot in range(1, 3):
                make_frames(data / shot_id(name, video, shot), 6)
    return data


def write_splits(folder, train, val=(), test=(), classes=("cat", "sea lion")):
    folder.mkdir(parents=True, exist_ok=True)
    write_class_ids(folder / "class_id.yaml", classes)
    for name, records in {"train": train, "val": val, "test": test}.items():
        write_split(folder / name, records)
    return folder


def frame_record(shot, frame, boxes=(), size=(64, 48), label=0):
    return SplitRecord(f"{shot}/{frame:04d}.jpg", label, size, tuple(boxes))


@pytest.mark.parametrize("location", ["outside", "inside"])
def test_split_files_name_shots_and_frames(tmp_path, youtube, numbers, location):
    splits = write_splits(
        youtube / "splits" if location == "inside" else tmp_path / "splits",
        train=[
            SplitRecord(shot_id("sea lion", 1, 2), 1, None, ()),
            SplitRecord(shot_id("cat", 1, 1), 0, None, ()),
        ],
        val=[frame_record(shot_id("cat", 2, 1), 3, [(1, 2, 3, 4)])],
        test=[
            frame_record(shot_id("cat", 3, 1), 5, [(0, 0, 9, 9), (1, 2, 3.5, 4)]),
            frame_record(shot_id("sea lion", 3, 2), 0, [(0, 0, 64, 48)], label=1),
        ],
    )
    data = open_data(youtube) if location == "inside" else open_data(youtube, str(splits))
    assert data.classes == ("cat", "sea lion")
    assert data.notes == ()
    assert [(shot.id, shot.label, shot.video) for shot in data.train] == [
        ("sea lion/data/0001/shots/002", 1, "sea lion/data/0001"),
        ("cat/data/0001/shots/001", 0, "cat/data/0001"),
    ]
    assert [numbers(shot.frames) for shot in data.train] == [list(range(6))] * 2
    (frame,) = data.val
    assert frame.id == "cat/data/0002/shots/001/0003.jpg"
    assert (frame.video, frame.index, frame.boxes) == ("cat/data/0002", 0, ((1, 2, 3, 4),))
    assert [frame.boxes for frame in data.test] == [
        ((0, 0, 9, 9), (1, 2, 3.5, 4)),
        ((0, 0, 64, 48),),
    ]
    assert [numbers(frame.frames.read([frame.index])) for frame in data.test] == [[5], [0]]
    assert pickle.loads(pickle.dumps(data)) == data


def test_videos_of_version_2_are_recognized(tmp_path, make_frames):
    shot = "cat/video-0002/shot-000002"
    make_frames(tmp_path / shot, 2)
    write_splits(
        tmp_path / "splits",
        train=[SplitRecord(shot, 0, None, ())],
        test=[frame_record(shot, 1)],
    )
    data = open_data(tmp_path)
    assert data.train[0].video == data.test[0].video == "cat/video-0002"


def test_opening_split_files_decodes_one_frame_of_a_video_with_boxes(youtube, monkeypatch):
    write_splits(
        youtube / "splits",
        train=[SplitRecord(shot_id("cat", 1, 1), 0, None, ())],
        val=[frame_record(shot_id("cat", 2, 1), 5)],
        test=[
            frame_record(shot_id("cat", 3, shot), frame, [(0, 0, 9, 9)])
            for shot in (1, 2)
            for frame in range(6)
        ],
    )
    decode, decoded = cv2.imdecode, []
    monkeypatch.setattr(cv2, "imdecode", lambda *args: (decoded.append(1), decode(*args))[1])
    assert len(open_data(youtube).test) == 12
    assert len(decoded) == 1


def test_missing_and_empty_shots_and_frames_are_skipped_and_counted(youtube):
    (youtube / shot_id("cat", 1, 2)).rename(youtube / "elsewhere")
    (youtube / shot_id("cat", 3, 1) / "0001.jpg").write_bytes(b"")
    (youtube / shot_id("cat", 9, 9)).mkdir(parents=True)
    shots = [shot_id("cat", 1, 1), shot_id("cat", 1, 2), shot_id("cat", 9, 9)]
    shots += [shot_id("sea lion", 1, 1)]
    write_splits(
        youtube / "splits",
        train=[SplitRecord(shot, 0, None, ()) for shot in shots],
        test=[frame_record(shot_id("cat", 3, 1), frame) for frame in range(5)],
    )
    data = open_data(youtube)
    assert [shot.id for shot in data.train] == [shots[0], shots[3]]
    assert [frame.id[-8:] for frame in data.test] == [
        "0000.jpg",
        "0002.jpg",
        "0003.jpg",
        "0004.jpg",
    ]
    assert data.notes == (
        f"2 of 4 training shots are missing or empty and skipped (first: {shots[1]})",
        "val: image_ids.txt lists no frame",
        f"1 of 5 test frames is missing or empty and skipped (first: {shot_id('cat', 3, 1)}/"
        "0001.jpg)",
    )


def test_a_data_folder_without_most_ids_of_a_split_is_an_error(youtube):
    good, gone = shot_id("cat", 1, 1), shot_id("cat", 7, 1)
    write_splits(
        youtube / "splits",
        train=[SplitRecord(shot, 0, None, ()) for shot in (good, gone, shot_id("cat", 7, 2))],
    )
    message = refused(youtube)
    assert message.startswith(
        f"{youtube}: missing or empty: 2 of 3 training shots, the first {gone}"
    )
    write_splits(
        youtube / "splits", train=[SplitRecord(good, 0, None, ())], val=[frame_record(gone, 1)]
    )
    assert "missing or empty: 1 of 1 val frame, the first cat/data/0007" in refused(youtube)


def test_swapped_corners_of_split_files_are_corrected_and_counted(youtube):
    write_splits(
        youtube / "splits",
        train=[SplitRecord(shot_id("cat", 1, 1), 0, None, ())],
        test=[frame_record(shot_id("cat", 3, 1), 1, [(30, 2, 10, 40), (1, 2, 3, 4)])],
    )
    data = open_data(youtube)
    assert data.test[0].boxes == ((10, 2, 30, 40), (1, 2, 3, 4))
    assert data.notes[1:] == ("test: 1 box with swapped corners corrected",)


@pytest.mark.parametrize("size", [(64, 48), None], ids=["size given", "size read from the frame"])
def test_split_boxes_that_exceed_the_image_are_clamped_to_its_width_and_height(youtube, size):
    boxes = [(-1.5, 3, 65.25, 48.5), (0, 0, 64, 48)]
    write_splits(
        youtube / "splits",
        train=[SplitRecord(shot_id("cat", 1, 1), 0, None, ())],
        val=[frame_record(shot_id("cat", 3, 1), 1, boxes, size)],
    )
    data = open_data(youtube)
    assert data.val[0].boxes == ((0, 3, 64, 48), (0, 0, 64, 48))
    assert data.notes[:-1] == ("val: 1 box exceeding the image clamped to it",)


def test_invalid_split_files_are_named(tmp_path, youtube):
    train = [SplitRecord(shot_id("cat", 1, 1), 0, None, ())]
    assert refused(youtube, tmp_path / "no").startswith(f"{tmp_path / 'no'}: no such folder")
    splits = write_splits(tmp_path / "splits", [SplitRecord(train[0].id, 2, None, ())])
    message = refused(youtube, splits)
    assert f"class_labels.txt: '{train[0].id}' has label 2" in message
    write_splits(splits, [])
    assert "train/image_ids.txt: lists no training shot" in refused(youtube, splits)
    write_splits(splits, train)
    (splits / "val" / "localization.txt").unlink()
    assert "val/localization.txt: cannot be read" in refused(youtube, splits)
    (splits / "class_id.yaml").unlink()
    assert "class_id.yaml: cannot be read" in refused(youtube, splits)


# ---- real data


def test_the_real_clips_open_with_all_their_boxes(shared):
    data = open_data(shared / "clips")
    assert data.classes == ("bird", "cat", "dog", "person", "tennis")
    lengths = {shot.id: len(shot.frames) for shot in data.train}
    assert lengths == {
        "bird/swan.mp4": 50,
        "cat/kitten.mp4": 149,
        "dog/street.mp4": 289,
        "person/juggle.mp4": 247,
        "tennis/court": 35,
    }
    assert len(data.test) == 20
    assert data.val == data.test
    assert {frame.id: frame.boxes for frame in data.test}["bird/swan.mp4#16"] == (
        (178, 90, 540, 399),
    )
    assert len(data.notes) == 1

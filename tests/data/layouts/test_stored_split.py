"""Stored split: the videos of a run are found again in a folder that has changed since."""

import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colocam.data.layouts.open import open_data
from colocam.data.layouts.split_files import SplitRecord, write_class_ids, write_split
from colocam.data.layouts.stored_split import PARTS, StoredSplit, fingerprint

HEAD = "video,frame,x0,y0,x1,y1\n"


@pytest.fixture
def folder(tmp_path, make_frames, make_video):
    """A class of eight folders of frames, and one of four files; no two have the same contents."""
    data = tmp_path / "data"
    for number in range(8):
        make_frames(data / "cat" / f"{number}", 6 + number)
    for number in range(4):
        make_video(data / "dog" / f"{number}.mp4", 6 + number)
    return data


def parts_of(data):
    """Videos by part."""
    return {
        "train": {shot.video for shot in data.train},
        **{name: {frame.video for frame in getattr(data, name)} for name in ("val", "test", "new")},
    }


@pytest.fixture
def before(folder):
    return open_data(folder)


@pytest.fixture
def split(before):
    return StoredSplit.of(before)


@pytest.mark.parametrize("evaluating", [False, True])
def test_an_unchanged_folder_has_the_same_records(folder, before, split, evaluating):
    again = open_data(folder, split=split, evaluating=evaluating)
    assert (again.classes, again.train, again.val, again.test, again.new) == (
        before.classes, before.train, before.val, before.test, (),
    )  # fmt: skip
    assert again.notes == (
        "videos split within each class by the stored split: 6 train, 3 validation, 3 test",
    )
    assert StoredSplit.of(again) == split


def test_the_split_does_not_depend_on_the_seed_any_more(folder, before, split):
    drawn = open_data(folder, seed=5)
    assert parts_of(drawn) != parts_of(before)
    assert parts_of(open_data(folder, seed=5, split=split)) == parts_of(before)


@pytest.mark.parametrize("evaluating", [False, True])
def test_added_videos_are_in_no_part_and_noted_once(
    folder, before, split, make_frames, make_video, evaluating
):
    for number in range(8, 12):
        make_frames(folder / "cat" / f"{number}", 6 + number)
    make_video(folder / "dog" / "00.mp4", 30)
    assert parts_of(open_data(folder)) != parts_of(before)  # a new draw
    data = open_data(folder, split=split, evaluating=evaluating)
    assert (data.train, data.val, data.test) == (before.train, before.val, before.test)
    added = {*(f"cat/{number}" for number in range(8, 12)), "dog/00.mp4"}
    assert {frame.video for frame in data.new} == added
    hint = "--split new evaluates" if evaluating else "a new run trains on"
    notes = [note for note in data.notes if "added" in note]
    assert notes == [
        f"5 videos added since training, in no part of the split; {hint} them (first: cat/8)"
    ]


def test_renamed_videos_stay_in_their_part(folder, before, split):
    names = {video: f"{video[:4]}new-{video[4:]}" for part in parts_of(before).values()
             for video in part}  # fmt: skip
    for old, new in names.items():
        os.rename(folder / old, folder / new)
    data = open_data(folder, split=split, evaluating=True)
    expected = {part: {names[v] for v in videos} for part, videos in parts_of(before).items()}
    assert parts_of(data) == expected
    assert any(
        note.startswith("12 videos in the stored split under another name, by contents (first: ")
        for note in data.notes
    )
    assert not any("not in the folder" in note for note in data.notes)


def test_a_copy_of_a_training_video_is_not_tested(folder, split):
    trained, tested = min(split.train), min(split.test)
    shutil.copytree(folder / trained, folder / "cat" / "copy")
    shutil.copytree(folder / tested, folder / "cat" / "tested-twice")
    data = open_data(folder, split=split, evaluating=True)
    assert "cat/copy" in parts_of(data)["train"]
    assert parts_of(data)["new"] == {"cat/tested-twice"}
    assert any(f"(first: cat/copy, there {trained})" in note for note in data.notes)


def test_changed_videos_stay_in_their_part(folder, before, split, make_frames):
    changed = min(split.train)
    shutil.rmtree(folder / changed)
    make_frames(folder / changed, 20)
    data = open_data(folder, split=split, evaluating=True)
    assert parts_of(data) == parts_of(before)
    what = "1 video changed since training, and kept in the same part of the split"
    assert f"{what} (first: {changed})" in data.notes


def test_missing_videos_are_noted_if_they_were_evaluated(folder, before, split):
    trained, tested = min(split.train), min(split.test)
    for name in (trained, tested):
        shutil.rmtree(folder / name)
    data = open_data(folder, split=split, evaluating=True)
    assert parts_of(data)["test"] == parts_of(before)["test"] - {tested}
    assert f"1 video of the stored split not in the folder (first: {tested})" in data.notes
    resumed = open_data(folder, split=split)
    assert f"2 videos of the stored split not in the folder (first: {tested})" in resumed.notes


def test_training_videos_are_not_tested_in_place_of_missing_ones(folder, split, tmp_path):
    for name in (*split.val, *split.test):
        (folder / name).rename(tmp_path / name.replace("/", " "))
    data = open_data(folder, split=split, evaluating=True)
    assert data.val == data.test == ()


def test_a_class_of_two_videos_stays_one(tmp_path, make_frames):
    """Frames of its training videos are evaluated, as in training; a third video is new."""
    for number in range(2):
        make_frames(tmp_path / "cat" / f"{number}", 5 + number)
    (tmp_path / "boxes.csv").write_text(HEAD + "cat/0,1,1,2,3,4\n")
    before = open_data(tmp_path)
    split = StoredSplit.of(before)
    assert (set(split.train), split.val, split.test) == ({"cat/0", "cat/1"}, {}, {})
    make_frames(tmp_path / "cat" / "2", 9)
    data = open_data(tmp_path, split=split, evaluating=True)
    assert (data.train, data.test) == (before.train, before.test)
    assert parts_of(data)["new"] == {"cat/2"}
    assert any(note.startswith("fewer than three videos in cat: all are") for note in data.notes)


# ---- folders that were not trained on


def test_all_videos_of_a_folder_that_was_not_trained_on_are_tested(split, tmp_path, make_frames):
    other = tmp_path / "other"
    for number in range(4):
        make_frames(other / "cat" / f"{number}", 18 + number)  # names of the stored split
    data = open_data(other, split=split, evaluating=True)
    assert parts_of(data)["test"] == {f"cat/{number}" for number in range(4)}
    note = "none of 4 videos was trained on (compared by contents): all are tested; 4 have names of"
    assert data.notes == (f"{note} the stored split (first: cat/0)",)
    drawn = open_data(other)
    assert (data.train, data.val) == (drawn.train, drawn.val)


def test_frames_with_boxes_of_all_videos_are_tested_if_there_are_any(split, tmp_path, make_frames):
    other = tmp_path / "other"
    for number in range(8):
        make_frames(other / "cat" / f"{number}", 15 + number)
    (other / "boxes.csv").write_text(HEAD + "".join(f"cat/{n},1,1,2,3,4\n" for n in range(6)))
    data = open_data(other, split=split, evaluating=True)
    found = [(frame.video, frame.index) for frame in data.test]
    assert found == [(f"cat/{number}", 1) for number in range(6)]


def test_another_collection_with_some_training_videos_is_tested_without_them(
    folder, split, tmp_path, make_frames
):
    other, trained = tmp_path / "other", min(split.train)
    for number in range(3):
        make_frames(other / "cat" / f"new-{number}", 16 + number)
    shutil.copytree(folder / trained, other / "cat" / "old")
    data = open_data(other, split=split, evaluating=True)
    assert parts_of(data)["test"] == {f"cat/new-{number}" for number in range(3)}
    assert parts_of(data)["train"] == {"cat/old"}
    assert data.notes[0] == (
        "3 videos added since training, in no part of the split; the folder has no test video of "
        "the run, this tests them (first: cat/new-0)"
    )
    assert f"(first: cat/old, there {trained})" in data.notes[1]


def test_without_a_stored_split_it_is_drawn_and_noted(folder, before):
    data = open_data(folder, evaluating=True)
    assert (data.train, data.val, data.test) == (before.train, before.val, before.test)
    assert data.notes[0].startswith("the checkpoint holds no split (an earlier version wrote it)")


def test_a_run_on_other_data_draws_its_split(split, tmp_path, make_frames):
    for number in range(3):
        make_frames(tmp_path / "other" / "bird" / f"{number}", 20 + number)
    data = open_data(tmp_path / "other", split=split)
    assert data.train == open_data(tmp_path / "other").train
    assert data.notes[0] == ("none of 3 videos is in the stored split of the run: it is drawn anew")
    both = split.extended(StoredSplit.of(data))
    assert set(both.train) == {*split.train, *(shot.video for shot in data.train)}


# ---- split files


@pytest.fixture
def listed(tmp_path, make_frames):
    """Writes split files for six videos of which these train and these are tested."""
    data = tmp_path / "listed"
    for number in range(6):
        make_frames(data / "cat" / f"{number}", 5 + number)

    def write(train, test):
        shots = [SplitRecord(f"cat/{number}", 0, None, ()) for number in train]
        frames = [SplitRecord(f"cat/{number}/0002.jpg", 0, None, ()) for number in test]
        for part, records in zip(PARTS, (shots, [], frames), strict=True):
            write_split(data / "splits" / part, records)
        write_class_ids(data / "splits" / "class_id.yaml", ["cat"])
        return data

    return write


def test_split_files_go_before_a_stored_split_and_trained_frames_are_noted(listed):
    split = StoredSplit.of(open_data(listed((0, 1, 2, 3), (4, 5))))
    assert (set(split.train), set(split.test)) == (
        {f"cat/{number}" for number in range(4)}, {"cat/4", "cat/5"},
    )  # fmt: skip
    data = open_data(listed((0, 4), (2, 3, 5)), split=split, evaluating=True)
    assert [frame.id for frame in data.test] == [f"cat/{n}/0002.jpg" for n in (2, 3, 5)]
    what = "2 of 3 test frames are in shots that the run trained on (first: cat/2/0002.jpg)"
    assert what in data.notes
    again = open_data(listed((0, 1, 2, 3), (4, 5)), split=split, evaluating=True)
    assert not any("trained" in note for note in again.notes)


def test_other_frames_in_folders_of_the_same_names_are_not_noted(listed, make_frames):
    split = StoredSplit.of(open_data(listed((0, 1, 2, 3), (4, 5))))
    data = listed((0,), (2, 3))
    for number in (2, 3):
        shutil.rmtree(data / "cat" / str(number))
        make_frames(data / "cat" / f"{number}", 20)
    notes = open_data(data, split=split, evaluating=True).notes
    assert not any("trained" in note for note in notes)


def test_a_run_with_split_files_is_known_in_the_folder_without_them(listed, make_frames):
    data = listed((0, 1, 2), (4, 5))
    split = StoredSplit.of(open_data(data))
    shutil.rmtree(data / "splits")
    parts = parts_of(open_data(data, split=split, evaluating=True))
    assert parts["train"] == {f"cat/{number}" for number in range(3)}
    assert (parts["test"], parts["new"]) == ({"cat/4", "cat/5"}, {"cat/3"})
    other = data.with_name("other")
    for name in ("cat/4", "cat/6"):  # a name alone does not make it the folder of the run
        make_frames(other / name, 18)
    assert parts_of(open_data(other, split=split, evaluating=True))["test"] == {"cat/4", "cat/6"}


# ---- what is stored

names = st.dictionaries(st.text(), st.text("0123456789abcdef", max_size=16))


@given(st.tuples(names, names, names), st.dictionaries(st.text(), st.text(max_size=3)))
def test_any_split_is_read_as_written_and_every_video_has_one_place(parts, videos):
    split = StoredSplit.from_json(dict(zip(PARTS, parts, strict=True)))
    assert StoredSplit.from_json(split.to_json()) == split
    match = split.match(videos)
    assert {*match.parts, *match.new} == videos.keys()
    assert not match.parts.keys() & set(match.new)
    assert not {*match.missing} & videos.keys()


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", *PARTS]), inner),
    )
)
def test_anything_else_is_refused(values):
    try:
        split = StoredSplit.from_json(values)
    except ValueError:
        return
    assert split.to_json() == values


def test_fingerprints_are_of_contents_not_of_names_and_times(folder, tmp_path):
    data = open_data(folder)
    sources = [shot.frames for shot in data.train]
    prints = [fingerprint(source) for source in sources]
    assert len(set(prints)) == len(prints)
    assert all(len(one) == 16 for one in prints)
    shutil.copytree(folder, tmp_path / "copied")
    copied = [shot.frames for shot in open_data(tmp_path / "copied").train]
    assert [fingerprint(source) for source in copied] == prints
    (folder / data.train[0].video).rename(tmp_path / "gone")
    assert fingerprint(sources[0]) == ""

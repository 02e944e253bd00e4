"""Order of files: natural, and that of the characters where numbers are padded."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colocam.data.decoding.open import open_video
from colocam.data.file_order import in_order, natural_key
from colocam.data.layouts.open import open_data
from colocam.data.prepare.source_set import walk
from colocam.localization.input_videos import find_videos

# What names are made of: digits, characters around them in ASCII, other digits, escaped bytes.
NAMES = st.text(alphabet="0129/:.-_aé٣\x01\ud8ff", max_size=8)
TEXTS = st.text(alphabet="/:.-_aZé٣\ud8ff", max_size=3)


@given(st.lists(NAMES), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_that_of_the_listing(names, random):
    shuffled = random.sample(names, len(names))
    assert in_order(shuffled) == in_order(names)
    assert sorted(in_order(names)) == sorted(names)


@given(st.sets(NAMES))
def test_different_names_have_different_keys(names):
    assert len({natural_key(name) for name in names}) == len(names)


@given(st.lists(st.tuples(TEXTS, st.integers(0, 9999), TEXTS.filter(bool), st.integers(0, 99))))
def test_padded_names_are_in_the_order_of_their_characters(parts):
    names = [f"{first}{a:04d}{second}{b:02d}" for first, a, second, b in parts]
    assert in_order(names) == sorted(names)


@given(st.lists(NAMES.map(lambda name: re.sub("[0-9]+", "", name))))
def test_names_without_numbers_are_in_the_order_of_their_characters(names):
    assert in_order(names) == sorted(names)


@given(TEXTS, TEXTS, st.lists(st.integers(0, 10**30)))
def test_numbers_at_the_same_place_are_in_the_order_of_their_values(first, second, numbers):
    names = [f"{first}{number}{second}" for number in sorted(numbers)]
    assert in_order(reversed(names)) == names


def test_examples():
    assert in_order(["frame10", "frame2", "frame1"]) == ["frame1", "frame2", "frame10"]
    assert in_order(["cat2", "cat-big", "cat", "cat10"]) == ["cat", "cat-big", "cat2", "cat10"]
    assert in_order(["v1.10", "v1.9", "v01.9", "V2"]) == ["V2", "v01.9", "v1.9", "v1.10"]
    assert in_order(["10", "2"], "name") == ["10", "2"]


@pytest.fixture
def unpadded(tmp_path, make_frames):
    """Classes 9 and 10, each of videos 9 and 10; frames 1 … 12, each of one brightness."""
    for name in ("10/9", "10/10", "9/10", "9/9"):
        folder = make_frames(tmp_path / "data" / name)
        for number in range(11, -1, -1):
            (folder / f"{number:04d}.jpg").rename(folder / f"frame{number + 1}.jpg")
    return tmp_path / "data"


def test_frames_of_a_folder(unpadded, numbers):
    video = open_video(unpadded / "9/9", "9/9")
    assert numbers(video.read(range(12))) == list(range(12))
    video = open_video(unpadded / "9/9", "9/9", order="name")
    assert numbers(video.read(range(12))) == [0, 9, 10, 11, 1, 2, 3, 4, 5, 6, 7, 8]


def test_classes_videos_and_frames_of_a_data_folder(unpadded, numbers):
    data = open_data(unpadded)
    assert data.classes == ("9", "10")
    assert [shot.id for shot in data.train] == ["9/9", "9/10", "10/9", "10/10"]
    assert numbers(data.train[3].frames.read(range(12))) == list(range(12))
    by_name = open_data(unpadded, order="name")
    assert by_name.classes == ("10", "9")
    assert [shot.id for shot in by_name.train] == ["10/10", "10/9", "9/10", "9/9"]
    assert numbers(by_name.train[0].frames.read([2])) == [10]


def test_the_split_does_not_depend_on_the_order(tmp_path, make_frames):
    for name in range(8, 13):
        make_frames(tmp_path / "cat" / str(name), 1)
    natural, by_name = (open_data(tmp_path, order=order) for order in ("natural", "name"))
    for split in ("train", "val", "test"):
        videos, others = ([x.video for x in getattr(d, split)] for d in (natural, by_name))
        assert videos == in_order(videos)
        assert others == sorted(videos)


def test_frames_of_a_shot_in_split_files(unpadded, numbers):
    for split, lines in (("train", ["9/9"]), ("val", []), ("test", [])):
        folder = unpadded / "splits" / split
        folder.mkdir(parents=True)
        (folder / "image_ids.txt").write_text("".join(f"{line}\n" for line in lines))
        (folder / "class_labels.txt").write_text("".join(f"{line},0\n" for line in lines))
        (folder / "image_sizes.txt").touch()
        (folder / "localization.txt").touch()
    (unpadded / "splits" / "class_id.yaml").write_text("cat: 0\n")
    (shot,) = open_data(unpadded).train
    assert numbers(shot.frames.read(range(12))) == list(range(12))
    (shot,) = open_data(unpadded, order="name").train
    assert numbers(shot.frames.read([1])) == [9]


def test_videos_to_localize_and_source_data_sets(unpadded):
    found = find_videos([unpadded], unpadded / "out", [])
    wanted = ["9/9", "9/10", "10/9", "10/10"]
    assert [str(path.relative_to(unpadded)) for path in found] == wanted
    walked = list(walk([unpadded]))
    assert [f.relative_to(unpadded).as_posix() for f, files in walked if files] == wanted
    assert [file.name for file in walked[-1][1]] == [f"frame{n}.jpg" for n in range(1, 13)]


def test_boxes_of_unpadded_frames_are_counted_in_natural_order_with_a_note(unpadded):
    table = unpadded / "boxes.csv"
    table.write_text("video,frame,x0,y0,x1,y1\n9/9,1,0,0,5,5\n")
    opened = open_data(unpadded)
    (frame,) = opened.test
    assert frame.frames.paths[frame.index].endswith("frame2.jpg")
    (note,) = [note for note in opened.notes if "natural order" in note]
    assert note.startswith("boxes.csv: frames of 1 folder")
    assert "(first: 9/9)" in note
    by_name = open_data(unpadded, order="name")
    assert by_name.test[0].frames.paths[1].endswith("frame10.jpg")
    assert not any("natural order" in note for note in by_name.notes)

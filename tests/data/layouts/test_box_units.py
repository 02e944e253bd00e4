"""Boxes as fractions of the frame are reported, not read as pixels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colocam.data.layouts.box_units import check_units, is_fraction
from colocam.data.layouts.open import open_data
from colocam.runtime.errors import UserError

HEAD = "video,frame,x0,y0,x1,y1\n"
FRACTIONS = "0.16,0.25,0.52,0.73"


def boxes(low, high):
    return st.lists(st.tuples(*[st.floats(low, high)] * 4), min_size=1)


@given(boxes(2, 1e4))
def test_boxes_in_pixels_are_accepted(in_pixels):
    check_units("boxes.csv", in_pixels, notes := [])
    assert notes == []


@given(boxes(0.01, 0.99), boxes(2, 1e4))
def test_fractions_raise_alone_and_are_counted_among_pixels(fractions, in_pixels):
    with pytest.raises(UserError, match=r"^boxes.csv: its boxes look like fractions"):
        check_units("boxes.csv", fractions, [])
    check_units("boxes.csv", fractions + in_pixels, notes := [])
    (note,) = notes
    total = len(fractions) + len(in_pixels)
    assert note.startswith(f"boxes.csv: {len(fractions)} of {total} boxes look")


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0, 0, 0, 0), (0.5, 0.5, 1.5, 1), (-0.1, 0, 0.5, 1)])
def test_whole_numbers_and_larger_boxes_are_pixels(box):
    assert not is_fraction(box)


@pytest.fixture
def plain(tmp_path, make_frames):
    make_frames(tmp_path / "cat" / "0")
    return tmp_path


def test_boxes_csv_of_fractions_raises(plain):
    (plain / "boxes.csv").write_text(f"{HEAD}cat/0,1,{FRACTIONS}\ncat/0,2,0,0,1,0.5\n")
    with pytest.raises(UserError, match=r"boxes\.csv: its boxes look like .*; boxes are in pixels"):
        open_data(plain)


def test_centre_width_and_height_as_fractions_raise(plain):
    (plain / "boxes.csv").write_text(f"{HEAD}cat/0,1,0.5,0.5,0.2,0.3\n")
    with pytest.raises(UserError, match=r"boxes\.csv, line 2: the box .*; boxes are in pixels"):
        open_data(plain)


def test_a_fraction_among_boxes_in_pixels_is_noted(plain):
    (plain / "boxes.csv").write_text(f"{HEAD}cat/0,1,{FRACTIONS}\ncat/0,2,0,0,10,15\n")
    opened = open_data(plain)
    (note,) = [note for note in opened.notes if "fraction" in note]
    assert note.startswith(f"{plain / 'boxes.csv'}: 1 of 2 boxes looks like a fraction")
    assert [frame.boxes for frame in opened.test] == [
        ((0.16, 0.25, 0.52, 0.73),),
        ((0, 0, 10, 15),),
    ]


def test_split_files_with_fractions_raise(plain):
    for split, name in (("train", "cat/0"), ("val", "cat/0/0001.jpg"), ("test", "cat/0/0002.jpg")):
        folder = plain / "splits" / split
        folder.mkdir(parents=True)
        (folder / "image_ids.txt").write_text(f"{name}\n")
        (folder / "class_labels.txt").write_text(f"{name},0\n")
        (folder / "image_sizes.txt").write_text("")
        boxes = f"{name},{FRACTIONS}\n" if split == "test" else ""
        (folder / "localization.txt").write_text(boxes)
    (plain / "splits" / "class_id.yaml").write_text("cat: 0\n")
    with pytest.raises(UserError, match=r"test.localization\.txt: its boxes look like fractions"):
        open_data(plain)

"""Teacher of boxes: shape of the maps, which boxes count, frames that match nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from colocam.data.decoding.images import ImageFrames
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import box_at
from colocam.runtime.errors import UserError
from colocam.seeds import FOREGROUND, IGNORED, sample_seeds
from colocam.teachers.box_maps import BoxTeacher, box_map
from colocam.teachers.detections import DetectedFrame, Detection, Detections
from colocam.teachers.frame_names import FrameNames

WORDS = {"cat": ("cat",), "sports_car": ("sports car", "racer")}


def detections(frames, categories=("cat", "Sports Car")):
    return Detections(Path("found.json"), frames, categories)


def frame(*boxes, size=(64, 48)):
    return DetectedFrame(size, [Detection(*one) for one in boxes])


def maps_of(teacher, records):
    return {
        record.id: values
        for batch in teacher.batches(records)
        for record, values in zip(batch.records, batch.maps, strict=True)
    }


def test_values_above_half_span_the_box():
    values = box_map([((16, 12, 48, 24), 1.0)], (64, 48))
    assert values.shape == (112, 112)
    x0, y0, x1, y1 = box_at(values, 0.5)
    assert np.allclose((x0 / 112, y0 / 112, x1 / 112, y1 / 112), (0.25, 0.25, 0.75, 0.5), atol=0.02)


def test_a_map_is_1_in_the_middle_and_falls_to_0_around_the_box():
    values = box_map([((16, 12, 48, 36), 1.0)], (64, 48), side=64)
    across = values[32]
    assert across[32] == 1
    assert (np.diff(across[:32]) >= 0).all()
    assert (np.diff(across[32:]) <= 0).all()
    assert 0 < across[12] < 0.5  # outside of the box, which begins at 16
    assert across[4] == 0
    assert values[17, 17] < across[17]  # a corner


def test_the_maximum_over_boxes_is_weighted_by_relative_score():
    first, second = (0, 0, 16, 48), (48, 0, 64, 48)
    values = box_map([(first, 0.2), (second, 0.4), (second, 0.1)], (64, 48), side=64)
    assert values[32, 8] == pytest.approx(0.5)
    assert values[32, 56] == 1


@pytest.mark.parametrize("box", [(10, 10, 10.2, 10.2), (-50, -50, 200, 200), (63.5, 0, 64, 48)])
def test_boxes_of_any_size_leave_something_in_the_map(box):
    values = box_map([(box, 0.3)], (64, 48))
    assert 0 < values.max() <= 1
    assert np.isfinite(values).all()


@pytest.mark.parametrize("boxes", [[], [((0, 0, 9, 9), 0.0)], [((100, 100, 120, 120), 1.0)]])
def test_a_map_without_a_box_gives_no_seeds(boxes):
    values = torch.from_numpy(box_map(boxes, (64, 48)))[None]
    assert (sample_seeds(values) == IGNORED).all()


def test_foreground_seeds_are_in_the_box():
    values = torch.from_numpy(box_map([((16, 12, 48, 36), 1.0)], (64, 48), side=64))[None]
    seeds = sample_seeds(values, pixels=100, foreground_share=0.3, background_share=0.3)[0]
    rows, columns = torch.where(seeds == FOREGROUND)
    assert len(rows)
    assert min(rows.min(), columns.min()) >= 15
    assert max(rows.max(), columns.max()) <= 48


def test_boxes_of_the_tag_and_of_any_tag_count_whatever_the_case(classes, records):
    left, right = (0, 0, 16, 48), (48, 0, 64, 48)
    found = {
        "cat/a.mp4#0": frame((left, 1.0, "CAT"), (right, 1.0, "sports_car")),
        "cat/a.mp4/00000001": frame((right, 1.0, None)),
        "sports_car/b#1": frame((left, 1.0, "Racer")),
        "sports_car/b/0002.jpg": frame((left, 1.0, "cat")),
    }
    teacher = BoxTeacher(detections(found, ("CAT", "sports_car", "Racer")), classes, WORDS, records)
    maps = maps_of(teacher, records)
    middle = {name: (values[56, 14], values[56, 98]) for name, values in maps.items()}
    assert middle["cat/a.mp4 frame 0"] == (1, 0)
    assert middle["cat/a.mp4 frame 1"] == (0, 1)
    assert middle["sports_car/b frame 1"] == (1, 0)
    assert not maps["sports_car/b frame 2"].any()
    assert "no box of their tag for 7 of 10 frames" in teacher.notes[-1]


def test_without_a_size_boxes_are_in_pixels_of_the_frame(classes, records):
    found = {"sports_car/b#0": frame(((32, 0, 64, 48), 1.0, None), size=None)}
    found["cat/a.mp4#0"] = found["sports_car/b#0"]
    teacher = BoxTeacher(detections(found, ()), classes, WORDS, records)
    maps = maps_of(teacher, records)
    for name in ("sports_car/b frame 0", "cat/a.mp4 frame 0"):
        assert np.array_equal(maps[name], box_map([((32, 0, 64, 48), 1.0)], (64, 48)))


def test_a_frame_without_size_that_cannot_be_decoded_is_reported(data, classes, records):
    (data / "sports_car" / "b" / "0000.jpg").write_bytes(b"no image")
    found = {"sports_car/b#0": frame(((0, 0, 9, 9), 1.0, None), size=None)}
    teacher = BoxTeacher(detections(found, ()), classes, WORDS, records)
    unreadable = [name for batch in teacher.batches(records) for name in batch.unreadable]
    assert unreadable == ["sports_car/b frame 0"]


def test_an_image_of_split_files_is_known_by_its_number_in_its_folder(data):
    path = data / "sports_car" / "b" / "0003.jpg"
    source = ImageFrames((str(path),), "sports_car/b/0003.jpg")
    record = BoxedFrame(source.name, 0, "sports_car/b", source, 0, ())
    assert FrameNames().of(record) == ("sports_car/b/0003.jpg", "sports_car/b#3")


def test_foreign_categories_and_frames_are_noted(classes, records):
    found = {
        "cat/a.mp4#0": frame(((0, 0, 9, 9), 1.0, "cat")),
        "dog/c.mp4#0": frame(((0, 0, 9, 9), 1.0, "dog")),
    }
    notes = BoxTeacher(detections(found, ("cat", "dog")), classes, WORDS, records).notes
    assert "1 of 2 categories no tag of the data, not used (first: dog)" in notes[0]
    assert "no category for 1 of 2 tags (first: sports_car)" in notes[1]
    assert "1 of 2 frames not of this split, not used (first: dog/c.mp4#0)" in notes[2]


@pytest.mark.parametrize(
    ("found", "categories", "said"),
    [
        ({"cat/a.mp4#0": frame()}, ("dog", "cow"), "no category is a tag of the data: it has dog"),
        (
            {"cat/a.mp4#0": frame(((0, 0, 9, 9), 1.0, "Sports Car"))},
            ("cat", "Sports Car"),
            "no frame of the data has a box of its tag (first: cat/a.mp4 frame 0)",
        ),
        ({"a.mp4 12": frame()}, ("cat",), "none of its 1 frame is one of the data: it has a.mp4"),
    ],
)
def test_boxes_of_other_data_are_refused(found, categories, said, classes, records):
    with pytest.raises(UserError) as error:
        BoxTeacher(detections(found, categories), classes, WORDS, records)
    assert str(error.value).startswith("found.json: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)

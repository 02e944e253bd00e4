"""Files of boxes: COCO annotations and results, boxes.csv, boxes.json; invalid files."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.evaluation.predictions import write_records
from colocam.runtime.errors import UserError
from colocam.teachers.detections import Detection, read_detections

IMAGES = [
    {"id": 1, "file_name": "cat/a.mp4#0", "width": 64, "height": 48},
    {"id": "x", "file_name": "./sports_car/b/0001.jpg"},
]
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 4, "name": "Sports car"}]
BOXES = [
    {"id": 1, "image_id": 1, "category_id": 3, "bbox": [4, 8, 16, 16]},
    {"id": 2, "image_id": "x", "category_id": 4, "bbox": [0.5, 1, 2, 3], "score": 0.25},
]
COCO = {"images": IMAGES, "annotations": BOXES, "categories": CATEGORIES}


@pytest.fixture
def write(tmp_path):
    def put(content, name="boxes.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return put


@pytest.fixture
def refused(write, tmp_path):
    def message(content, images=None, name="boxes.json"):
        with pytest.raises(UserError) as error:
            read_detections(write(content, name), images, tmp_path)
        assert "\n" not in str(error.value)
        return str(error.value)

    return message


def check_frames(found):
    assert list(found.frames) == ["cat/a.mp4#0", "sports_car/b/0001.jpg"]
    first, second = found.frames.values()
    assert first.size == (64, 48)
    assert first.detections == [Detection((4, 8, 20, 24), 1.0, "cat")]
    assert second.size is None
    assert second.detections == [Detection((0.5, 1, 2.5, 4), 0.25, "Sports car")]
    assert found.categories == ("cat", "Sports car")


def test_coco_annotations_are_read_by_frame(write, tmp_path):
    check_frames(read_detections(write(COCO), None, tmp_path))


def test_coco_results_are_read_with_the_file_of_their_images(write, tmp_path):
    images = write({**COCO, "annotations": "of no interest"}, "images.json")
    check_frames(read_detections(write(BOXES, "results.json"), images, tmp_path))


def test_boxes_csv_holds_boxes_of_any_tag_with_their_last_pixel(write, tmp_path):
    path = write("video,frame,x0,y0,x1,y1\ncat/a.mp4,2,0,1,9,9\n", "boxes.csv")
    found = read_detections(path, None, tmp_path)
    assert found.frames["cat/a.mp4#2"].detections == [Detection((0, 1, 10, 10))]
    assert found.categories == ()


def test_records_of_localization_are_named_relative_to_the_data(tmp_path):
    record = {"video": str(tmp_path / "cat" / "a.mp4"), "frame": 2, "class": "dog", "score": 0.5}
    lines = [record | {"box": [0, 1, 9, 9]}, record | {"frame": 3, "box": None}]
    lines.append(record | {"video": "sports_car/b", "frame": "0001.jpg", "box": [0, 0, 1, 1]})
    write_records(tmp_path / "boxes.json", lines)
    found = read_detections(tmp_path / "boxes.json", None, tmp_path)
    assert list(found.frames) == ["cat/a.mp4#2", "cat/a.mp4#3", "sports_car/b/0001.jpg"]
    assert found.frames["cat/a.mp4#2"].detections == [Detection((0, 1, 10, 10), 0.5)]
    assert found.frames["cat/a.mp4#3"].detections == []


def test_absolute_file_names_in_the_data_folder_are_made_relative(write, tmp_path):
    image = IMAGES[0] | {"file_name": str(tmp_path / "cat" / "a" / "0.jpg")}
    found = read_detections(write(COCO | {"images": [image, IMAGES[1]]}), None, tmp_path)
    assert "cat/a/0.jpg" in found.frames


def test_boxes_without_an_area_are_skipped_and_counted(write, tmp_path):
    flat = BOXES[0] | {"bbox": [1, 2, 0, 4]}
    found = read_detections(write(COCO | {"annotations": [*BOXES, flat]}), None, tmp_path)
    assert sum(len(frame.detections) for frame in found.frames.values()) == 2
    (note,) = found.notes
    assert note.startswith("1 box without an area skipped")
    assert "annotations[2]" in note


def box(**changes):
    return COCO | {"annotations": [BOXES[0], BOXES[1] | changes]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"images": NaN}', "not a file of boxes"),
        ([], "not a file of boxes"),
        (3, "not a file of boxes"),
        (COCO | {"annotations": []}, "has no box"),
        (COCO | {"annotations": {}}, "no list of annotations"),
        (COCO | {"images": [IMAGES[0], 5]}, "images[1]: not an object"),
        (COCO | {"images": [IMAGES[0], IMAGES[0]]}, "images[1]: another entry has its id 1, too"),
        (COCO | {"images": [IMAGES[0], {"id": 2}]}, "images[1]: has no valid file_name"),
        (COCO | {"images": [IMAGES[0] | {"width": 0}]}, "images[0]: width and height must be"),
        (COCO | {"categories": [{"id": True, "name": "cat"}]}, "categories[0]: has no valid id"),
        (box(image_id=7), "annotations[1]: image_id 7 is not in"),
        (box(category_id=7), "annotations[1]: category_id 7 is not in"),
        (box(bbox=[1, 2, 3]), "annotations[1]: bbox must be a list of four numbers"),
        (box(bbox=[1, 2, 3, "4"]), "annotations[1]: bbox has to be of numbers, not '4'"),
        (box(bbox=[1, 2, 3, 10**400]), "annotations[1]: bbox has to be of numbers"),
        (box(score=-1), "annotations[1]: score -1 is negative"),
        (box(score=None), "annotations[1]: score has to be of numbers"),
        (COCO | {"annotations": [BOXES[0] | {"bbox": [0.1, 0.2, 0.5, 0.5]}]}, "fractions"),
        ([{"video": 1, "frame": 0}], "entry 1: has no valid video"),
        ([{"video": "a", "frame": 0, "box": [3, 0, 1, 1]}], "corners of its box are swapped"),
        (BOXES, "give the file with their images and categories as --images FILE"),
    ],
)
def test_an_invalid_file_is_named_with_the_place(content, said, refused, tmp_path):
    message = refused(content)
    assert str(tmp_path / "boxes.json") in message
    assert said in message


def test_images_are_refused_where_boxes_have_names(refused, write):
    images = write(COCO, "images.json")
    assert "--images" in refused(COCO, images)
    assert "--images" in refused("video,frame,x0,y0,x1,y1\n", images, "boxes.csv")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: cannot be read \(No such file"):
        read_detections(tmp_path / "none.json", None, tmp_path)


NAMES = (
    *("images", "annotations", "categories", "id", "image_id", "category_id", "bbox", "name"),
    *("file_name", "score", "width", "height", "video", "frame", "box"),
)
names = st.sampled_from(NAMES)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner),
    max_leaves=12,
)
entries = st.lists(st.dictionaries(names, scalars | st.lists(scalars, max_size=5)), max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    anything
    | entries
    | st.fixed_dictionaries({"images": entries, "annotations": entries, "categories": entries})
)
def test_any_json_is_read_or_refused_in_one_line(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "any.json"
    path.write_text(json.dumps(content))
    message = None
    try:
        found = read_detections(path, None, folder)
    except UserError as error:
        message = str(error)
    if message is None:
        assert any(frame.detections for frame in found.frames.values())
    else:
        assert str(path) in message
        assert "\n" not in message


sides = st.floats(2, 1e4, allow_nan=False)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.tuples(sides, sides, sides, sides), st.floats(0, 1)),
        min_size=1,
    )
)
def test_every_valid_box_of_coco_is_returned_with_its_frame(tmp_path_factory, boxes):
    images = [{"id": place, "file_name": f"cat/a.mp4#{place}"} for place in range(4)]
    annotations = [
        {"image_id": image, "category_id": 3, "bbox": bbox, "score": score}
        for image, bbox, score in boxes
    ]
    path = tmp_path_factory.getbasetemp() / "valid.json"
    path.write_text(json.dumps(COCO | {"images": images, "annotations": annotations}))
    frames = read_detections(path, None, path.parent).frames
    for place in range(4):
        expected = [
            Detection((x, y, x + w, y + h), score, "cat")
            for image, (x, y, w, h), score in boxes
            if image == place
        ]
        assert frames[f"cat/a.mp4#{place}"].detections == expected

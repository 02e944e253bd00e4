"""Reading and writing split files and `class_id.yaml`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.data.layouts.split_files import (
    SplitRecord,
    read_class_ids,
    read_split,
    write_class_ids,
    write_split,
)
from colocam.data.records import clamp_box
from colocam.runtime.errors import UserError

FILES = ("image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt")
CLASSES = ["aeroplane", "bird", "boat", "car", "cat", "cow", "dog", "horse", "motorbike", "train"]


def write(folder, ids="a\nb\n", labels="a,0\nb,1\n", sizes="a,64,48\n", boxes="a,1,2,3,4\n"):
    for name, text in zip(FILES, (ids, labels, sizes, boxes), strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_split_is_read_in_the_order_of_its_ids(tmp_path):
    folder = write(
        tmp_path,
        ids="b\n\na\nc",
        labels="a,0\nb,1\nc,0\n",
        sizes="a,64,48\r\nb,640,480\r\n",
        boxes="a,1,2,3,4\nb,5,6,7.25,8\na,9,9,1,1\n",
    )
    assert read_split(folder) == [
        SplitRecord("b", 1, (640, 480), ((5.0, 6.0, 7.25, 8.0),)),
        SplitRecord("a", 0, (64, 48), ((1.0, 2.0, 3.0, 4.0), (9.0, 9.0, 1.0, 1.0))),
        SplitRecord("c", 0, None, ()),
    ]


@pytest.mark.parametrize("missing", FILES)
def test_a_missing_file_is_named(tmp_path, missing):
    write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(UserError, match=missing):
        read_split(tmp_path)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"labels": "a,0\n"}, "class_labels.txt: no line for the id 'b'"),
        ({"labels": "a,0\nb\n"}, "class_labels.txt, line 2: expected id,label, not 'b'"),
        ({"labels": "a,0\nb,1\nc,1\n"}, "class_labels.txt, line 3: the id 'c' is not in image_ids"),
        (
            {"labels": "a,0\nb,1\na,1\n"},
            "class_labels.txt, line 3: the id 'a' is listed before with",
        ),
        ({"labels": "a,0\nb,cat\n"}, "class_labels.txt, line 2: 'cat' is not a whole number"),
        ({"labels": "a,0\nb,-1\n"}, "class_labels.txt, line 2: '-1' is not a whole number"),
        ({"sizes": "a,64\n"}, "image_sizes.txt, line 1: expected id,width,height"),
        ({"sizes": "a,64,0\n"}, "image_sizes.txt, line 1: '0' is not a whole number of at least 1"),
        (
            {"sizes": "a,64,48\na,48,64\n"},
            "image_sizes.txt, line 2: the id 'a' is listed before with",
        ),
        ({"boxes": "a,1,2,3\n"}, "localization.txt, line 1: expected id,x0,y0,x1,y1"),
        ({"boxes": "a,1,2,3,4,5\n"}, "localization.txt, line 1: the id 'a,1' is not in image_ids"),
        ({"boxes": "\na,1,2,3,x\n"}, "localization.txt, line 2: 'x' is not a number"),
        ({"boxes": "a,1,2,3,nan\n"}, "localization.txt, line 1: 'nan' is not a number"),
    ],
)
def test_an_invalid_value_raises_with_file_and_line(tmp_path, texts, message):
    with pytest.raises(UserError) as error:
        read_split(write(tmp_path, **texts))
    assert str(error.value).startswith(f"{tmp_path}")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_repeated_lines_are_skipped_and_all_boxes_kept(tmp_path):
    write(
        tmp_path,
        ids="a\nb\na\n",
        labels="a,0\nb,1\na,0\n",
        sizes="a,64,48\na,64,48\n",
        boxes="a,1,2,3,4\na,1,2,3,4\n",
    )
    repeated = []
    assert read_split(tmp_path, repeated) == [
        SplitRecord("a", 0, (64, 48), ((1, 2, 3, 4), (1, 2, 3, 4))),
        SplitRecord("b", 1, None, ()),
    ]
    places = zip(FILES, (3, 3, 2), strict=False)
    assert repeated == [f"{tmp_path / name}, line {number}" for name, number in places]


def test_byte_order_marks_and_crlf_are_accepted(tmp_path):
    expected = read_split(write(tmp_path))
    for name in FILES:
        text = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    assert read_split(tmp_path) == expected


def test_an_id_may_begin_with_a_byte_order_mark(tmp_path):
    records = [SplitRecord("\ufeffa", 0, None, ())]
    write_split(tmp_path, records)
    assert read_split(tmp_path) == records


ids = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), min_size=1, max_size=20
).filter(str.strip)
number = st.floats(allow_nan=False, allow_infinity=False)
records = st.lists(
    st.builds(
        SplitRecord,
        id=ids,
        label=st.integers(0, 999),
        size=st.none() | st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
        boxes=st.lists(st.tuples(number, number, number, number), max_size=3).map(tuple),
    ),
    max_size=5,
    unique_by=lambda record: record.id,
)


@settings(deadline=None, max_examples=100)
@given(records)
def test_a_written_split_is_read_back_exactly(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("splits") / "new" / "train"
    write_split(folder, records)
    assert read_split(folder) == records
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("bad", ["", "  ", "a\nb", "a\rb"])
def test_a_blank_id_or_one_with_a_line_break_is_not_written(tmp_path, bad):
    with pytest.raises(ValueError, match="id"):
        write_split(tmp_path / "new", [SplitRecord(bad, 0, None, ())])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("version", "split", "frames", "boxes"),
    [
        ("v1.0", "train", 2768, 0),
        ("v1.0", "val", 325, 347),
        ("v1.0", "test", 346, 396),
        ("v2.2", "train", 1289, 0),
        ("v2.2", "val", 1177, 1177),
        ("v2.2", "test", 1781, 2667),
    ],
)
def test_the_splits_of_youtube_objects_have_their_published_numbers(
    shared, tmp_path, version, split, frames, boxes
):
    records = read_split(shared / f"splits/YouTube-Objects-{version}" / split)
    assert len(records) == frames
    assert sum(len(record.boxes) for record in records) == boxes
    write_split(tmp_path, records)
    assert read_split(tmp_path) == records


@pytest.mark.parametrize(("split", "exceeding"), [("test", 5), ("val", 8)])
def test_five_test_and_eight_validation_boxes_of_v1_exceed_the_image(shared, split, exceeding):
    records = read_split(shared / "splits/YouTube-Objects-v1.0" / split)
    pairs = [(box, clamp_box(box, *record.size)) for record in records for box in record.boxes]
    assert sum(box != clamped for box, clamped in pairs) == exceeding


@pytest.mark.parametrize("version", ["v1.0", "v2.2"])
def test_the_classes_of_youtube_objects_are_read(shared, version):
    file = shared / f"splits/YouTube-Objects-{version}/class_id.yaml"
    assert list(read_class_ids(file).items()) == [(name, i) for i, name in enumerate(CLASSES)]


@pytest.mark.parametrize(
    "text",
    [
        "{Cat: 0, sea lion: 1, 'dog''s': 2}\n",
        "{Cat: 0, sea\n  lion: 1,\n  dog's: 2,\n}",
        '{"Cat": 0, "sea lion": 1, "dog\\x27s": 2}',
        "Cat: 0\nsea lion: 1\ndog's: 2\n",
        "# classes\n---\n  'Cat' : 0  # the first\n\n  sea lion:   1\n  \"dog\\u0027s\": 2",
        "sea lion: 1\r\ndog's: 2\r\nCat: 0\r\n",
    ],
)
def test_all_supported_forms_of_class_files_are_read(tmp_path, text):
    (tmp_path / "class_id.yaml").write_text(text, encoding="utf-8", newline="")
    assert read_class_ids(tmp_path / "class_id.yaml") == {"Cat": 0, "sea lion": 1, "dog's": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "each entry must read `name: label`"),
        ("{}", "each entry must read `name: label`"),
        ("cat: 0\ndog\n", "not 'dog'"),
        ("cat: 0\ndog: one\n", "not 'dog: one'"),
        ("cat: 0\ndog: 1.5\n", "not 'dog: 1.5'"),
        ("{cat: 0, dog: {a: 1}}", "each entry must read `name: label`"),
        ("- cat\n- dog\n", "each entry must read `name: label`"),
        ("cat: 0\ncat: 1\n", "a class is listed twice"),
        ("cat: 0\ndog: 0\n", "the labels must run from 0 to 1, once each"),
        ("cat: 1\ndog: 2\n", "the labels must run from 0 to 1, once each"),
    ],
)
def test_a_malformed_class_file_raises_with_one_line(tmp_path, text, message):
    (tmp_path / "class_id.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_class_ids(tmp_path / "class_id.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'class_id.yaml'}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_class_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"class_id\.yaml: cannot be read \(No such file"):
        read_class_ids(tmp_path / "class_id.yaml")


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_written_classes_are_read_back_exactly(tmp_path_factory, names):
    file = tmp_path_factory.mktemp("classes") / "class_id.yaml"
    write_class_ids(file, names)
    assert list(read_class_ids(file)) == names
    assert list(read_class_ids(file).values()) == list(range(len(names)))


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from("{}:,'\"\\# \n01abxuU-"), max_size=30))
def test_any_class_file_is_read_or_raises_with_one_line(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("classes") / "class_id.yaml"
    file.write_text(text)
    try:
        classes = read_class_ids(file)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert sorted(classes.values()) == list(range(len(classes)))


def test_blanks_within_a_plain_name_are_kept(tmp_path):
    for text in ("sea  lion: 0\n", "{sea  lion: 0}"):
        (tmp_path / "class_id.yaml").write_text(text)
        assert read_class_ids(tmp_path / "class_id.yaml") == {"sea  lion": 0}

"""Reading `boxes.csv`."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.data.layouts.boxes_csv import HEADER, BoxLine, read_boxes_csv
from colocam.runtime.errors import UserError

HEAD = "video,frame,x0,y0,x1,y1\n"


def read(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "boxes.csv"
    path.write_bytes(text.encode(encoding))
    return read_boxes_csv(path)


def test_a_line_is_a_box_with_its_line_number(tmp_path):
    lines = read(tmp_path, HEAD + "cat/a.mp4,0,1,2,30,40\n\ncat/a.mp4,0,5.5,6,7,8e0\n")
    assert lines == [
        BoxLine(2, "cat/a.mp4", 0, (1.0, 2.0, 30.0, 40.0)),
        BoxLine(4, "cat/a.mp4", 0, (5.5, 6.0, 7.0, 8.0)),
    ]


def test_a_file_with_only_a_header_has_no_boxes(tmp_path):
    assert read(tmp_path, HEAD) == []


def test_quotes_blanks_and_empty_rows_of_spreadsheets_are_accepted(tmp_path):
    text = 'video, frame, x0, y0, x1, y1\r\n"cat/a, b.mp4", 3, 1, 2, 3, 4\r\n,,,,,\r\n'
    (line,) = read(tmp_path, text, encoding="utf-8-sig")
    assert line == BoxLine(2, "cat/a, b.mp4", 3, (1.0, 2.0, 3.0, 4.0))


def test_a_box_of_one_pixel_is_valid(tmp_path):
    assert read(tmp_path, HEAD + "a,0,5,6,5,6\n")[0].box == (5.0, 6.0, 5.0, 6.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line must be video,frame,x0,y0,x1,y1, not ''"),
        ("video,frame,x,y,w,h\na,0,1,2,3,4\n", "the first line must be video,frame,x0,y0,x1,y1"),
        ("video;frame;x0;y0;x1;y1\n", "the first line must be video,frame,x0,y0,x1,y1"),
        (HEAD + "a,0,1,2,3\n", "line 2: 5 columns"),
        (HEAD + "a,0,1,2,3,4,5\n", "line 2: 7 columns"),
        (HEAD + "a,0,1,2,3,4\na,1.5,1,2,3,4\n", "line 3: frame '1.5' is not a whole number"),
        (HEAD + "a,0,1,two,3,4\n", "line 2: y0 is not a number: 'two'"),
        (HEAD + "a,0,1,2,nan,4\n", "line 2: x1 is not a number: 'nan'"),
        (HEAD + "a,0,1,2,3,inf\n", "line 2: y1 is not a number: 'inf'"),
        (HEAD + "a,0,3,2,1,4\n", "line 2: corners are swapped"),
        (HEAD + "a,0,1,4,3,2\n", "line 2: corners are swapped"),
    ],
)
def test_an_invalid_value_raises_with_file_and_line(tmp_path, text, message):
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'boxes.csv'}")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_text_or_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"boxes\.csv: cannot be read as a table"):
        read(tmp_path, HEAD + "größe,0,1,2,3,4\n", encoding="latin-1")
    with pytest.raises(UserError, match=r"nowhere\.csv: cannot be read \(No such file"):
        read_boxes_csv(tmp_path / "nowhere.csv")


names = (
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12)
    .map(str.strip)
    .filter(bool)
)
numbers = st.floats(-1e6, 1e6) | st.integers(-5000, 5000).map(float)
boxes = st.tuples(numbers, numbers, numbers, numbers).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(names, st.integers(-5, 10**6), boxes), max_size=6))
def test_the_output_of_a_csv_writer_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "boxes.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows([video, frame, *box] for video, frame, box in rows)
    lines = read_boxes_csv(path)
    assert [(line.video, line.frame, line.box) for line in lines] == rows
    assert [line.line for line in lines] == list(range(2, 2 + len(rows)))


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60), st.booleans())
def test_any_text_is_read_or_raises_with_one_line(tmp_path_factory, text, with_header):
    path = tmp_path_factory.mktemp("csv") / "boxes.csv"
    path.write_bytes((HEAD * with_header + text).encode("utf-8", "surrogatepass"))
    try:
        for line in read_boxes_csv(path):
            assert line.box[0] <= line.box[2]
            assert line.box[1] <= line.box[3]
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017

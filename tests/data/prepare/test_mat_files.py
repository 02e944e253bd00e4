"""MATLAB files of the published sets, in all forms in which MATLAB may store the same data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.data.prepare.mat_files import read_pairs, read_ranges, read_sticks
from colocam.runtime.errors import UserError

savemat = pytest.importorskip("scipy.io").savemat
csc_matrix = pytest.importorskip("scipy.sparse").csc_matrix

BOXES = ((1.0, 2.0, 3.5, 4.0), (5.0, 6.0, 7.0, 8.0))


def cell(*values, shape):
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array.reshape(shape)


@pytest.mark.parametrize(
    ("coor", "boxes"),
    [
        (cell(*(np.array([box]) for box in BOXES), shape=(1, 2)), BOXES),
        (cell(*(np.array([box]).T for box in BOXES), shape=(2, 1)), BOXES),
        (cell(np.array([BOXES[0]], np.uint16), np.zeros((0, 0)), shape=(1, 2)), ((1, 2, 3, 4),)),
        (np.array(BOXES), BOXES),
        (np.array(BOXES[0]), BOXES[:1]),
        (np.zeros((0, 0)), ()),
        (cell(shape=(0, 0)), ()),
    ],
)
def test_boxes_of_v1_are_read_from_cells_and_arrays(tmp_path, coor, boxes):
    savemat(tmp_path / "a.mat", {"coor": coor, "other": 1})
    assert read_sticks(tmp_path / "a.mat") == boxes


@pytest.mark.parametrize("kind", [np.float64, np.uint16, np.int32])
def test_ranges_are_read_from_any_number_type(tmp_path, kind):
    ranges = np.array([[1, 5], [4, 9], [1, 2]], kind)
    savemat(tmp_path / "a.mat", {"ranges": ranges}, do_compression=True)
    assert read_ranges(tmp_path / "a.mat") == [(1, 4, 1), (5, 9, 2)]


PAIRS = [("cat00000001", BOXES), ("cat00000007", BOXES[:1]), ("cat00000009", ())]
ENTRIES = [(name, np.array(boxes).reshape(-1, 4)) for name, boxes in PAIRS]
FLAT = [value for entry in ENTRIES for value in entry]
RECORDS = np.empty((1, len(ENTRIES)), [("id", object), ("box", object)])
for place, entry in enumerate(ENTRIES):
    RECORDS[0, place] = entry


@pytest.mark.parametrize(
    "value",
    [
        cell(*FLAT, shape=(3, 2)),
        cell(*FLAT, shape=(3, 2)).T,
        cell(*(cell(*entry, shape=(1, 2)) for entry in ENTRIES), shape=(3, 1)),
        RECORDS,
    ],
    ids=["rows", "columns", "nested", "structs"],
)
def test_pairs_of_id_and_boxes_are_read_from_cells_and_structs(tmp_path, value):
    savemat(tmp_path / "a.mat", {"whatever": value})
    assert read_pairs(tmp_path / "a.mat") == PAIRS


def test_two_pairs_are_read_as_rows_and_as_columns(tmp_path):
    for value in (cell(*FLAT[:4], shape=(2, 2)), cell(*FLAT[:4], shape=(2, 2)).T):
        savemat(tmp_path / "a.mat", {"whatever": value})
        assert read_pairs(tmp_path / "a.mat") == PAIRS[:2]


def test_an_empty_cell_array_has_no_pairs(tmp_path):
    savemat(tmp_path / "a.mat", {"whatever": cell(shape=(0, 0))})
    assert read_pairs(tmp_path / "a.mat") == []


def test_a_sparse_matrix_is_refused(tmp_path):
    eye = csc_matrix(np.eye(4))
    savemat(tmp_path / "a.mat", {"coor": eye, "ranges": eye})
    for read in (read_sticks, read_ranges):
        with pytest.raises(UserError, match=r"a\.mat"):
            read(tmp_path / "a.mat")
    savemat(tmp_path / "a.mat", {"coor": eye})
    with pytest.raises(UserError, match="pairs of an id and its boxes"):
        read_pairs(tmp_path / "a.mat")


FILES = {
    read_sticks: {"coor": cell(*(np.array([box]) for box in BOXES), shape=(1, 2))},
    read_ranges: {"ranges": np.array([[1, 5], [4, 9], [1, 2]])},
    read_pairs: {"bb": cell(*FLAT, shape=(3, 2))},
}


@settings(deadline=None, max_examples=60)
@given(
    read=st.sampled_from(list(FILES)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3),
    compressed=st.booleans(),
)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_read_or_raises_with_one_line(tmp_path_factory, read, flips, compressed):
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    savemat(path, FILES[read], do_compression=compressed)
    data = bytearray(path.read_bytes())
    for place, bits in flips:
        data[int(place * len(data))] ^= bits
    path.write_bytes(data)
    try:
        read(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017

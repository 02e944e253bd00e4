"""Example pictures and the contact sheet: what is drawn where, and the atomic write."""

import cv2
import numpy as np
import pytest

from colocam.evaluation.boxes import box_at
from colocam.localization.drawing import GREEN, RED
from colocam.report.contact_sheet import CAPTION, HEADER, MARGIN, contact_sheet
from colocam.report.pictures import TILE, Example
from colocam.runtime.errors import UserError


def example_of(height=96, width=96, boxes=((20, 30, 60, 70),), seed=0):
    rng = np.random.default_rng(seed)
    frame = rng.integers(90, 110, (height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    scores = np.exp(-(((x - 40) / 14) ** 2 + ((y - 50) / 14) ** 2)).astype(np.float32)
    return Example(frame, boxes, "cat", scores**4, box_at(scores**4, 0.4), scores, (20, 31, 61, 70))


def read(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def has(image, color):
    return bool((image == color).all(axis=-1).any())


def test_sheet_shows_ground_truth_in_green_and_predictions_in_red(tmp_path):
    path = tmp_path / "report" / "examples.png"
    contact_sheet([example_of()], path)
    sheet = read(path)
    green = np.argwhere((sheet == GREEN).all(axis=-1))
    red = np.argwhere((sheet == RED).all(axis=-1))
    tiles = red[red[:, 0] > 80]  # below legend and header
    assert green[:, 1].max() < TILE + 40  # on the frame only
    assert tiles[:, 1].max() > 2 * TILE  # on the last tile as well
    assert [p.name for p in path.parent.iterdir()] == ["examples.png"]


def test_small_maps_and_their_boxes_are_magnified(tmp_path):
    path = tmp_path / "sheet.png"
    contact_sheet([example_of()], path)
    sheet = read(path)
    assert sheet.shape[1] > 3 * TILE
    assert sheet.shape[0] > TILE
    rows = np.argwhere((sheet == GREEN).all(axis=-1))[:, 0]
    rows = rows[rows > 80]
    # 41 of 96 pixels on a tile of 224: 96 pixels, one less for rounding and the red line over it.
    assert rows.max() - rows.min() + 1 == pytest.approx(41 / 96 * TILE, abs=3)


def test_captions_and_column_names_depend_on_the_arguments(tmp_path):
    with_boxes, without = tmp_path / "a.png", tmp_path / "b.png"
    contact_sheet([example_of()], with_boxes)
    contact_sheet([example_of()], without, method="TCAM")
    assert (read(with_boxes) != read(without)).any()
    contact_sheet([example_of(boxes=())], without)
    assert not has(read(without)[80:], GREEN)


@pytest.mark.parametrize(("count", "across"), [(1, 1), (4, 1), (5, 2), (12, 2), (13, 3)])
def test_many_examples_are_laid_out_side_by_side(tmp_path, count, across):
    path = tmp_path / "sheet.png"
    contact_sheet([example_of(seed=seed) for seed in range(count)], path)
    height, width = read(path).shape[:2]
    assert width // (3 * TILE) == across
    rows = -(-count // across)
    assert height == rows * (TILE + CAPTION) + 2 * HEADER + 2 * MARGIN


def test_maps_of_different_shapes_are_drawn(tmp_path):
    path = tmp_path / "sheet.png"
    contact_sheet([example_of(96, 160), example_of(224, 224)], path)
    assert has(read(path), GREEN)


def test_empty_sheet_raises(tmp_path):
    with pytest.raises(ValueError, match="rows"):
        contact_sheet([], tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


def test_failed_write_keeps_the_old_sheet_and_leaves_no_other_file(tmp_path, monkeypatch):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UserError, match="no space"):
        contact_sheet([example_of()], path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]

"""Pictures: what is drawn where, and how the contact sheet reaches the disk."""

import cv2
import numpy as np
import pytest

from colocam.evaluation.boxes import box_at
from colocam.localization.drawing import GREEN, RED, blend, draw_box, heat_map
from colocam.report.pictures import CAPTION, HEADER, MARGIN, TILE, Example, contact_sheet
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


def test_a_boxs_line_lies_on_its_outermost_pixels():
    image = np.full((40, 50, 3), 7, np.uint8)
    drawn = draw_box(image, (10, 5, 30, 25), GREEN, thickness=2)
    expected = image.copy()
    expected[5:26, 10:31] = GREEN
    expected[7:24, 12:29] = 7
    np.testing.assert_array_equal(drawn, expected)
    assert (image == 7).all()


@pytest.mark.parametrize("box", [(0, 0, 49, 39), (3, 3, 3, 3), (3, 3, 4, 9)])
def test_boxes_at_the_edge_and_tiny_boxes_are_drawn_inside(box):
    x0, y0, x1, y1 = box
    drawn = draw_box(np.zeros((40, 50, 3), np.uint8), box, RED, thickness=3)
    colored = (drawn == RED).all(axis=-1)
    assert colored[y0, x0 : x1 + 1].all()
    assert colored[y1, x0 : x1 + 1].all()
    assert colored[y0 : y1 + 1, x0].all()
    assert colored[y0 : y1 + 1, x1].all()
    outside = np.ones((40, 50), bool)
    outside[y0 : y1 + 1, x0 : x1 + 1] = False
    assert not drawn[outside].any()


def test_heat_grows_brighter_with_the_score_and_is_rgb():
    heat = heat_map(np.linspace(0, 1, 256)[None])
    assert heat.shape == (1, 256, 3)
    assert heat.dtype == np.uint8
    luminance = heat[0] @ [0.299, 0.587, 0.114]
    assert (np.diff(luminance) > -1).all()
    assert luminance[-1] > luminance[0] + 100
    red, _, blue = heat[0, -1].astype(int)
    assert red > blue + 100  # yellow, not its mirror image in BGR


def test_blending_keeps_the_heats_colour_and_the_images_brightness():
    image = np.array([[[200, 0, 0], [0, 0, 0]]], np.uint8)  # grey 60 and 0
    heat = np.array([[[100, 50, 0], [100, 50, 0]]], np.uint8)
    assert blend(image, heat, 0.5).tolist() == [[[80, 55, 30], [50, 25, 0]]]
    np.testing.assert_array_equal(blend(image, heat, 1.0), heat)


def test_the_sheet_shows_truth_in_green_and_predictions_in_red(tmp_path):
    path = tmp_path / "report" / "examples.png"
    contact_sheet([example_of()], path)
    sheet = read(path)
    green = np.argwhere((sheet == GREEN).all(axis=-1))
    red = np.argwhere((sheet == RED).all(axis=-1))
    tiles = red[red[:, 0] > 80]  # below legend and header
    assert green[:, 1].max() < TILE + 40  # on the frame only
    assert tiles[:, 1].max() > 2 * TILE  # on the last tile as well
    assert [p.name for p in path.parent.iterdir()] == ["examples.png"]


def test_small_maps_are_magnified_with_their_boxes(tmp_path):
    path = tmp_path / "sheet.png"
    contact_sheet([example_of()], path)
    sheet = read(path)
    assert sheet.shape[1] > 3 * TILE
    assert sheet.shape[0] > TILE
    rows = np.argwhere((sheet == GREEN).all(axis=-1))[:, 0]
    rows = rows[rows > 80]
    # 41 of 96 pixels on a tile of 224: 96 pixels, one less for rounding and the red line over it.
    assert rows.max() - rows.min() + 1 == pytest.approx(41 / 96 * TILE, abs=3)


def test_captions_and_headings_depend_on_what_they_say(tmp_path):
    with_boxes, without = tmp_path / "a.png", tmp_path / "b.png"
    contact_sheet([example_of()], with_boxes)
    contact_sheet([example_of()], without, method="TCAM")
    assert (read(with_boxes) != read(without)).any()
    contact_sheet([example_of(boxes=())], without)
    assert not has(read(without)[80:], GREEN)


@pytest.mark.parametrize(("count", "across"), [(1, 1), (4, 1), (5, 2), (12, 2), (13, 3)])
def test_many_examples_stand_side_by_side(tmp_path, count, across):
    path = tmp_path / "sheet.png"
    contact_sheet([example_of(seed=seed) for seed in range(count)], path)
    height, width = read(path).shape[:2]
    assert width // (3 * TILE) == across
    rows = -(-count // across)
    assert height == rows * (TILE + CAPTION) + 2 * HEADER + 2 * MARGIN


def test_maps_of_other_shapes_keep_theirs(tmp_path):
    path = tmp_path / "sheet.png"
    contact_sheet([example_of(96, 160), example_of(224, 224)], path)
    assert has(read(path), GREEN)


def test_an_empty_sheet_is_refused(tmp_path):
    with pytest.raises(ValueError, match="rows"):
        contact_sheet([], tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_sheet_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UserError, match="no space"):
        contact_sheet([example_of()], path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]

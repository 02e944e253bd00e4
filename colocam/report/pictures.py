"""Pictures to judge by eye: boxes drawn, score maps as heat, and the contact sheet of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike

from colocam.evaluation.boxes import Box, iou, unscale_box
from colocam.localization.drawing import GREEN, RED, Color, Image, blend, draw_box, heat_map
from colocam.runtime.files import write_atomic

TILE = 224  # longer side of a tile, pixels
GAP = 8  # between the tiles of an example
BLOCK_GAP = 24  # between examples on one line
MARGIN = 16
CAPTION = 30  # height of a caption under a tile
HEADER = 30  # height of the line of column names, and of the legend
BACKGROUND, INK = (255, 255, 255), (40, 40, 40)
RIGHT, WRONG = (0, 120, 30), (190, 20, 30)  # captions: IoU of at least 0.5, or less


@dataclass(frozen=True)
class Example:
    """One frame for the contact sheet; boxes in the map's pixels, which are the frame's here.

    Attributes:
        frame: (H, W, 3) uint8, RGB, at the size of the maps.
        boxes: ground truth, may be empty.
        label_name: name of the class.
        cam: (H, W), the seed CAM in [0, 1].
        cam_box: its box.
        score_map: (H, W), S1 in [0, 1].
        box: its box.
        name: of the frame.
    """

    frame: Image
    boxes: Sequence[Box]
    label_name: str
    cam: ArrayLike
    cam_box: Box
    score_map: ArrayLike
    box: Box
    name: str = ""

    def overlaps(self) -> tuple[float, float] | None:
        """Best IoU over the ground truth of the seed CAM's box and of S1's; None without any."""
        if not len(self.boxes):
            return None
        return tuple(float(iou([box], self.boxes).max()) for box in (self.cam_box, self.box))


def contact_sheet(rows: Sequence[Example], path: str | Path, method: str = "CoLo-CAM") -> None:
    """Write one picture of many examples, as PNG: each its frame, seed CAM and S1, with boxes.

    On the frame, ground truth is green and the prediction (S1's) red; on the maps, each map's own
    box is red. Captions give the class and the best IoU over the ground-truth boxes. Small maps
    are magnified. One example a line, two or three where there are many. The file appears whole or
    not at all.

    Args:
        rows: the examples, in order, at least one.
        path: of the PNG; missing folders are made.
        method: heads the column of S1.

    Raises:
        ValueError: `rows` is empty.
    """
    if not rows:
        raise ValueError("rows: at least one example needed")
    across = 1 if len(rows) <= 4 else 2 if len(rows) <= 12 else 3
    blocks = [_example_block(example) for example in rows]
    blank = np.full_like(blocks[0], BACKGROUND)
    blocks += [blank] * (-len(blocks) % across)
    lines = [beside(blocks[at : at + across], BLOCK_GAP) for at in range(0, len(blocks), across)]
    header = beside([_header_block(method, blank.shape[1])] * across, BLOCK_GAP)
    sheet = np.concatenate([_legend(header.shape[1]), header, *lines])
    sheet = cv2.copyMakeBorder(sheet, *[MARGIN] * 4, cv2.BORDER_CONSTANT, None, BACKGROUND)
    _write_png(sheet, Path(path))


def example_tiles(example: Example) -> list[Image]:
    """Three pictures of an example, the longer side `TILE` pixels: the frame, seed CAM and S1.

    On the frame, ground truth and S1's box; on the maps, which lie as heat over the frame, each
    map's own box.
    """
    height, width = example.frame.shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))

    def place(box: Box) -> Box:
        return unscale_box(box, (width, height), size)

    frame = cv2.resize(np.ascontiguousarray(example.frame), size, interpolation=cv2.INTER_CUBIC)
    tile = frame
    for box in example.boxes:
        tile = draw_box(tile, place(box), GREEN, 3)  # wide: shows under a red line
    tiles = [draw_box(tile, place(example.box), RED)]
    for score_map, box in ((example.cam, example.cam_box), (example.score_map, example.box)):
        scores = np.asarray(score_map, dtype=np.float32)
        heat = heat_map(cv2.resize(scores, size, interpolation=cv2.INTER_LINEAR))
        tiles.append(draw_box(blend(frame, heat), place(box), RED))
    return tiles


def _example_block(example: Example) -> Image:
    """Three captioned tiles side by side."""
    overlaps = example.overlaps() or (None, None)
    captions = [(example.label_name, INK), *map(_overlap_caption, overlaps)]
    tiles = zip(example_tiles(example), captions, strict=True)
    return beside([_captioned(tile, *caption) for tile, caption in tiles], GAP)


def _overlap_caption(overlap: float | None) -> tuple[str, Color]:
    if overlap is None:
        return "", INK
    return f"IoU {overlap:.2f}", RIGHT if overlap >= 0.5 else WRONG


def _captioned(tile: Image, text: str, color: Color) -> Image:
    """A tile, centred in a square of side TILE, over its caption."""
    canvas = np.full((TILE + CAPTION, TILE, 3), BACKGROUND, np.uint8)
    top, left = (TILE - tile.shape[0]) // 2, (TILE - tile.shape[1]) // 2
    canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return _write_text(canvas, text, (1, TILE + 16), color)


def _header_block(method: str, width: int) -> Image:
    block = np.full((HEADER, width, 3), BACKGROUND, np.uint8)
    for column, name in enumerate(("frame", "seed CAM", f"{method} (S1)")):
        block = _write_text(block, name, (column * (TILE + GAP) + 1, HEADER - 10), INK)
    return block


def _legend(width: int) -> Image:
    legend = np.full((HEADER, width, 3), BACKGROUND, np.uint8)
    left = 0
    for color, text in ((GREEN, "ground truth"), (RED, "prediction")):
        legend = draw_box(legend, (left + 2, 7, left + 22, 22), color)
        legend = _write_text(legend, text, (left + 30, HEADER - 9), INK)
        left += 150
    return legend


def _write_text(image: Image, text: str, origin: tuple[int, int], color: Color) -> Image:
    return cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, 1, cv2.LINE_AA)


def beside(blocks: Sequence[Image], gap: int) -> Image:
    """Pictures (H, W, 3) of one height in a row, `gap` white pixels between them."""
    spacer = np.full((blocks[0].shape[0], gap, 3), BACKGROUND, np.uint8)
    return np.concatenate([part for block in blocks for part in (spacer, block)][1:], axis=1)


def _write_png(image: Image, path: Path) -> None:
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    write_atomic(path, encoded.tobytes())

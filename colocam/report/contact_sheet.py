"""Contact sheet: one PNG of many examples, with captions."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from colocam.localization.drawing import GREEN, RED, Color, Image, draw_box
from colocam.report.pictures import BACKGROUND, GAP, TILE, Example, example_tiles, side_by_side
from colocam.runtime.files import write_whole

BLOCK_GAP = 24  # between examples of one row, pixels
MARGIN = 16
CAPTION = 30  # height of a caption under a tile, pixels
HEADER = 30  # height of the column names, and of the legend, pixels
INK = (40, 40, 40)
CORRECT, WRONG = (0, 120, 30), (190, 20, 30)  # caption colors: IoU of at least 0.5, or less


def contact_sheet(rows: Sequence[Example], path: str | Path, method: str = "CoLo-CAM") -> None:
    """Writes a PNG of many examples: each its frame, seed CAM and S¹, with boxes.

    The tiles are those of `example_tiles`. Captions give the class and the best IoU with the ground
    truth. A row holds one example, or two or three if there are many. The write is atomic.

    Args:
        rows: the examples in order, at least one.
        path: of the PNG; missing folders are created.
        method: column name of S¹.

    Raises:
        ValueError: `rows` is empty.
        UserError: the file cannot be written.
    """
    if not rows:
        raise ValueError("rows: at least one example needed")
    across = 1 if len(rows) <= 4 else 2 if len(rows) <= 12 else 3
    blocks = [_example_block(example) for example in rows]
    blank = np.full_like(blocks[0], BACKGROUND)
    blocks += [blank] * (-len(blocks) % across)
    lines = [
        side_by_side(blocks[at : at + across], BLOCK_GAP) for at in range(0, len(blocks), across)
    ]
    header = side_by_side([_header_block(method, blank.shape[1])] * across, BLOCK_GAP)
    sheet = np.concatenate([_legend(header.shape[1]), header, *lines])
    margins = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    _write_png(np.pad(sheet, margins, constant_values=BACKGROUND[0]), Path(path))


def _example_block(example: Example) -> Image:
    """Three captioned tiles side by side."""
    overlaps = example.overlaps() or (None, None)
    captions = [(example.label_name, INK), *map(_overlap_caption, overlaps)]
    tiles = zip(example_tiles(example), captions, strict=True)
    return side_by_side([_captioned(tile, *caption) for tile, caption in tiles], GAP)


def _overlap_caption(overlap: float | None) -> tuple[str, Color]:
    if overlap is None:
        return "", INK
    return f"IoU {overlap:.2f}", CORRECT if overlap >= 0.5 else WRONG


def _captioned(tile: Image, text: str, color: Color) -> Image:
    """A tile, centered in a square of side `TILE`, above its caption."""
    canvas = np.full((TILE + CAPTION, TILE, 3), BACKGROUND, np.uint8)
    top, left = (TILE - tile.shape[0]) // 2, (TILE - tile.shape[1]) // 2
    canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    _put_text(canvas, text, (1, TILE + 16), color)
    return canvas


def _header_block(method: str, width: int) -> Image:
    block = np.full((HEADER, width, 3), BACKGROUND, np.uint8)
    for column, name in enumerate(("frame", "seed CAM", f"{method} (S1)")):
        _put_text(block, name, (column * (TILE + GAP) + 1, HEADER - 10), INK)
    return block


def _legend(width: int) -> Image:
    legend = np.full((HEADER, width, 3), BACKGROUND, np.uint8)
    left = 0
    for color, text in ((GREEN, "ground truth"), (RED, "prediction")):
        legend = draw_box(legend, (left + 2, 7, left + 22, 22), color)
        _put_text(legend, text, (left + 30, HEADER - 9), INK)
        left += 150
    return legend


def _put_text(image: Image, text: str, origin: tuple[int, int], color: Color) -> None:
    """Draws text into the image; `origin` is the left end of its baseline."""
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, 1, cv2.LINE_AA)


def _write_png(image: Image, path: Path) -> None:
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    write_whole(path, encoded.tobytes())

"""Example pictures: a frame, its seed CAM and its score map S¹ with their boxes drawn."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from colocam.evaluation.boxes import Box, iou, unscale_box
from colocam.localization.drawing import GREEN, RED, Image, blend, draw_box, heat_map

TILE = 224  # longer side of a tile, pixels
GAP = 8  # between the tiles of an example, pixels
BACKGROUND = (255, 255, 255)
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Example:
    """A frame with its maps and boxes, all in pixels of the maps.

    Attributes:
        frame: (H, W, 3) uint8, RGB, resized to the size of the maps.
        boxes: ground truth; may be empty.
        label_name: name of the class.
        cam: (H, W), the seed CAM in [0, 1].
        cam_box: box of the seed CAM.
        score_map: (H, W), S¹ in [0, 1].
        box: box of S¹, the prediction.
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
        """Best IoU with the ground truth of `cam_box` and of `box`; None without ground truth."""
        if not len(self.boxes):
            return None
        best = iou([self.cam_box, self.box], self.boxes).max(axis=1)  # (2,)
        return float(best[0]), float(best[1])


def example_tiles(example: Example) -> list[Image]:
    """Three pictures of an example, the longer side `TILE` pixels: frame, seed CAM and S¹.

    The frame shows the ground truth in green and the prediction in red. The maps are drawn as heat
    maps over the frame, each with its own box in red.

    Args:
        example: frame, maps and boxes.

    Returns:
        Three images (h, w, 3) uint8, RGB.
    """
    height, width = example.frame.shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))

    def scaled(box: Box) -> Box:
        return unscale_box(box, (width, height), size)

    contiguous = np.ascontiguousarray(example.frame)
    frame = np.asarray(cv2.resize(contiguous, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    tile = frame
    for box in example.boxes:
        tile = draw_box(tile, scaled(box), GREEN, 3)  # thicker: visible under a red line
    tiles = [draw_box(tile, scaled(example.box), RED)]
    for score_map, box in ((example.cam, example.cam_box), (example.score_map, example.box)):
        scores = np.asarray(score_map, dtype=np.float32)
        heat = heat_map(cv2.resize(scores, size, interpolation=cv2.INTER_LINEAR))
        tiles.append(draw_box(blend(frame, heat), scaled(box), RED))
    return tiles


def side_by_side(blocks: Sequence[Image], gap: int) -> Image:
    """Images (H, W, 3) of one height in a row, with `gap` white pixels between them."""
    spacer = np.full((blocks[0].shape[0], gap, 3), BACKGROUND, np.uint8)
    return np.concatenate([part for block in blocks for part in (spacer, block)][1:], axis=1)


def jpeg_url(image: Image, quality: int = JPEG_QUALITY) -> str:
    """A picture (H, W, 3) uint8 RGB as a data URL.

    Args:
        image: the picture.
        quality: of the JPEG, 0…100.
    """
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"

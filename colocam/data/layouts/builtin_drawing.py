"""Drawing of the built-in clips: object sprites, backgrounds, motion and boxes.

A video has an object sprite (`draw_video`): a rounded, shaded body with the glyph of its class near
one end. A shot (`draw_shot`) pastes the sprite, moved, scaled and rotated, onto a background that a
camera pans and zooms over. All functions draw from a `numpy.random.Generator`; the order of their
draws determines the bytes of a clip set.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from colocam.data.layouts.builtin_settings import ClipSet
from colocam.data.records import Box

_SPRITE = (96, 192)  # height, width of the sprite that an object is drawn on
_LONG_SHARE = 0.2  # share of the shots that are long
_EMPTY_RUN = 0.25  # share of a shot's frames that are empty, in shots with empty frames


@dataclass(frozen=True)
class VideoAppearance:
    """Appearance of the object and background colours, constant within one video.

    Attributes:
        sprite: object, (h, w, 4) float32 in 0…1, premultiplied by its last channel (opacity).
        length: of the body, as a share of the frame's shorter side.
        background: three background colours, (3, 3) float32, RGB 0…255.
    """

    sprite: np.ndarray
    length: float
    background: np.ndarray


def draw_video(clip_set: ClipSet, label: int, rng: np.random.Generator) -> VideoAppearance:
    """Draws the appearance of a video of class `label`: body, glyph, colours."""
    effects = clip_set.effects
    body, background = _palette(rng)
    if not effects.video_colors:
        body = np.array([[200, 120, 60], [150, 80, 40]], np.float32)
    aspect = rng.uniform(*clip_set.aspect)
    sprite = _draw_body(body, aspect, effects.material, rng)
    if effects.telling_part:
        _draw_glyph(sprite, label, aspect, clip_set.part_place, rng)
    return VideoAppearance(sprite, rng.uniform(*clip_set.length), background)


def _palette(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two similar body colours, three background colours distant from them, RGB 0…255."""
    body = rng.uniform(60, 230, 3)
    second = np.clip(body + rng.normal(0, 22, 3), 30, 245)
    background: list[np.ndarray] = []
    while len(background) < 3:
        color = _muted(rng)
        if min(np.linalg.norm(color - body), np.linalg.norm(color - second)) > 70:
            background.append(color)
    return np.stack([body, second]).astype(np.float32), np.stack(background).astype(np.float32)


def _muted(rng: np.random.Generator) -> np.ndarray:
    """A colour of half saturation, as natural backgrounds have, RGB 0…255."""
    color = rng.uniform(20, 235, 3)
    return (color + color.mean()) / 2


def _draw_body(
    colors: np.ndarray, aspect: float, material: bool, rng: np.random.Generator
) -> np.ndarray:
    """Sprite of a rounded, tapered body along the sprite's width: (h, w, 4), premultiplied."""
    height, width = _SPRITE
    half_length, half_width = 0.46 * width, 0.46 * width / aspect
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    u = (xs - (width - 1) / 2) / half_length
    taper = 1 - rng.uniform(0, 0.35) * (u + 1) / 2
    v = (ys - (height - 1) / 2) / (half_width * taper)
    power = rng.uniform(2.0, 3.5)
    radius = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
    opacity = np.clip((1 - radius) * half_width * 0.7, 0, 1)[..., None]
    patches = _smooth_noise(rng, _SPRITE, 16)[..., None] > 0.4
    color = (
        np.where(patches, colors[1], colors[0])
        if material
        else np.tile(colors[0], (height, width, 1))
    )
    if material:
        shade = 0.72 + 0.36 * np.sqrt(np.clip(1 - v**2, 0, 1))
        # Coarse enough to remain visible where an object is scaled to a third of its sprite.
        strokes = cv2.GaussianBlur(
            rng.normal(0, 1, _SPRITE).astype(np.float32), (0, 0), sigmaX=14, sigmaY=2.2
        )
        color = color * shade[..., None] + 30 * (strokes / strokes.std())[..., None]
    color = np.clip(color, 0, 255) / 255
    return np.concatenate([color * opacity, opacity], axis=2).astype(np.float32)


def _draw_glyph(
    sprite: np.ndarray, label: int, aspect: float, position: float, rng: np.random.Generator
) -> None:
    """Draws the glyph of the class on the body, near one end; modifies `sprite` in place."""
    height, width = _SPRITE
    radius = 0.46 * width / aspect * 0.55
    center = (width - 1) / 2 - position * 0.46 * width, (height - 1) / 2
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    x, y = (xs - center[0]) / radius, (ys - center[1]) / radius
    r = np.hypot(x, y)
    glyphs = (
        (np.sin(x * 4.2) * np.sin(y * 4.2)) > 0,
        (np.abs(x) < 0.3) | (np.abs(y) < 0.3),
        np.cos(r * 8.5) > 0,
        np.sin(x * 7.5) > 0,
    )
    inks = np.array([[235, 60, 50], [40, 90, 240], [250, 220, 40], [30, 200, 90]], np.float32)
    papers = np.array([[250, 240, 235], [245, 245, 160], [60, 20, 90], [20, 20, 40]], np.float32)
    jitter = rng.normal(0, 14, (2, 3))
    color = np.where(glyphs[label][..., None], inks[label] + jitter[0], papers[label] + jitter[1])
    color = np.clip(color, 0, 255).astype(np.float32) / 255
    inside = np.clip((1 - r) * radius, 0, 1)[..., None]
    sprite[..., :3] = sprite[..., :3] * (1 - inside) + color * inside * sprite[..., 3:]


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> np.ndarray:
    """Noise of unit variance with spots about `grain` pixels wide: (h, w)."""
    small = [max(2, int(np.ceil(side / grain * 2))) for side in shape]
    noise = cv2.resize(
        rng.normal(0, 1, small).astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def draw_background(
    clip_set: ClipSet, video: VideoAppearance, rng: np.random.Generator
) -> np.ndarray:
    """Draws the background of one shot, larger than the frame.

    Returns:
        (1.5·height, 1.5·width, 3) float32 in 0…1.
    """
    shape = (int(clip_set.height * 1.5), int(clip_set.width * 1.5))
    background = np.broadcast_to(video.background[0], (*shape, 3)).copy()
    if clip_set.effects.texture:
        for color, grain in zip(video.background[1:], (48, 24), strict=True):
            share = 1 / (1 + np.exp(-4 * _smooth_noise(rng, shape, grain)))[..., None]
            background = background * (1 - share) + color * share
        background += 10 * _smooth_noise(rng, shape, 8)[..., None] * rng.uniform(0.7, 1.3, 3)
    if clip_set.effects.distractors:
        for _ in range(rng.integers(3, 7)):
            _draw_distractor(background, clip_set, rng)
    return (np.clip(background, 0, 255) / 255).astype(np.float32)


def _draw_distractor(background: np.ndarray, clip_set: ClipSet, rng: np.random.Generator) -> None:
    """Draws a flat-coloured ellipse or box of the size of a body; modifies `background`."""
    height, width = background.shape[:2]
    side = rng.uniform(0.15, 0.4) * min(clip_set.width, clip_set.height)
    axes = (side, side / rng.uniform(1, 2.5))
    center = rng.uniform(0, width), rng.uniform(0, height)
    color, angle = _muted(rng).tolist(), rng.uniform(0, 180)
    if rng.random() < 0.5:
        cv2.ellipse(background, (center, (2 * axes[0], 2 * axes[1]), angle), color, -1, cv2.LINE_AA)
    else:
        corners = cv2.boxPoints((center, (1.6 * axes[0], 1.6 * axes[1]), angle))
        cv2.fillConvexPoly(background, corners.astype(np.int32), color, cv2.LINE_AA)


def draw_shot(
    clip_set: ClipSet, video: VideoAppearance, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[Box | None]]:
    """Draws one shot.

    Args:
        clip_set: settings of the set.
        video: appearance of the video, from `draw_video`.
        rng: source of all random draws.

    Returns:
        Frames (H, W, 3) uint8 RGB, and the box of the object in each; None in empty frames.
    """
    background = draw_background(clip_set, video, rng)
    fewest, most = clip_set.long_frames if rng.random() < _LONG_SHARE else clip_set.frames
    count = int(rng.integers(fewest, most + 1))
    centers, scales, angles = _object_path(clip_set, video, count, rng)
    views = _camera_path(clip_set, count, rng)
    brightness = _walk(rng, count, 0.22) if clip_set.effects.brightness_drift else np.zeros(count)
    empty = np.zeros(count, bool)
    if clip_set.effects.empty_frames and rng.random() < 0.25:
        start = rng.integers(0, count)
        empty[start : start + max(1, int(_EMPTY_RUN * count))] = True
    frames: list[np.ndarray] = []
    boxes: list[Box | None] = []
    for t in range(count):
        frame = cv2.warpAffine(
            background, views[t], (clip_set.width, clip_set.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        box: Box | None = None
        if not empty[t]:
            frame, box = _paste(frame, video.sprite, centers[t], scales[t], angles[t])
        frames.append((np.clip(frame * (1 + brightness[t]), 0, 1) * 255).astype(np.uint8))
        boxes.append(box)
    return frames, boxes


def _walk(rng: np.random.Generator, count: int, reach: float) -> np.ndarray:
    """A smooth sequence of `count` values within ±reach."""
    phase, turns = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.2)
    return reach * rng.uniform(0.4, 1) * np.sin(phase + np.linspace(0, 2 * np.pi * turns, count))


def _object_path(
    clip_set: ClipSet, video: VideoAppearance, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres (T, 2) in pixels, scales (T,) of the sprite, angles (T,) in degrees."""
    effects = clip_set.effects
    size = np.array([clip_set.width, clip_set.height])
    start = rng.uniform(0.25, 0.75, 2)
    speed = rng.uniform(0.015, 0.07) * effects.object_motion
    direction = rng.uniform(0, 2 * np.pi)
    path = start + np.arange(count)[:, None] * speed * [np.cos(direction), np.sin(direction)]
    path = 0.2 + 0.6 * _bounce((path - 0.2) / 0.6)
    grow = _walk(rng, count, 0.3) if effects.scale_change else np.zeros(count)
    scales = video.length * min(size) / (0.92 * _SPRITE[1]) * np.exp(grow)
    turn = _walk(rng, count, 35) if effects.object_motion else np.zeros(count)
    return path * size, scales, rng.uniform(0, 360) + turn


def _bounce(x: np.ndarray) -> np.ndarray:
    """Reflects a path at 0 and 1."""
    x = np.mod(x, 2)
    return np.where(x > 1, 2 - x, x)


def _camera_path(clip_set: ClipSet, count: int, rng: np.random.Generator) -> np.ndarray:
    """Affine maps (T, 2, 3) from frame pixels to background pixels."""
    moving = clip_set.effects.camera_motion
    pan = [_walk(rng, count, 0.2) if moving else np.zeros(count) for _ in range(2)]
    zoom = np.exp(_walk(rng, count, 0.12) if moving else np.zeros(count))
    views = np.zeros((count, 2, 3), np.float32)
    for axis, side in enumerate((clip_set.width, clip_set.height)):
        views[:, axis, axis] = zoom
        views[:, axis, 2] = side * (0.75 + pan[axis] - 0.5 * zoom)
    return views


def _paste(
    frame: np.ndarray, sprite: np.ndarray, center: np.ndarray, scale: float, angle: float
) -> tuple[np.ndarray, Box]:
    """Pastes the sprite onto a frame; the box bounds all pixels it covers by half or more."""
    height, width = frame.shape[:2]
    middle = (sprite.shape[1] - 1) / 2, (sprite.shape[0] - 1) / 2
    affine = cv2.getRotationMatrix2D(middle, angle, scale)
    affine[:, 2] += center - middle
    shrunk = cv2.GaussianBlur(sprite, (0, 0), max(0.4 / scale, 0.3))  # against aliasing
    layer = cv2.warpAffine(shrunk, affine, (width, height), flags=cv2.INTER_LINEAR)
    covered = layer[..., 3] >= 0.5
    xs, ys = np.flatnonzero(covered.any(0)), np.flatnonzero(covered.any(1))
    box = (float(xs[0]), float(ys[0]), float(xs[-1]), float(ys[-1]))
    return frame * (1 - layer[..., 3:]) + layer[..., :3], box

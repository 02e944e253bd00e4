"""The built-in clip set: small videos with class tags, drawn from a seed.

It holds what weakly supervised video object localization is about. A class is told by a small
part alone (a glyph near one end of the object): that is what a CAM finds. The object is the whole
body around it, many times the part's area; its colours differ between videos and stay the same
within one: that is what the colour terms spread to. What marks a body from video to video is its
material, fine strokes along a rounded, shaded form, which all classes share and backgrounds lack.

Written to disk as YouTube-Objects v1 is laid out, with split files and boxes, so that the same
loader reads both. Every effect can be switched off (`Effects`).
"""

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from colocam.data.layouts.split_files import SplitRecord, write_class_ids, write_split
from colocam.data.records import Box
from colocam.runtime.errors import UserError

CLASSES = ("checker", "cross", "rings", "stripes")
VERSION = 2
EVERY_FRAME = "every-frame"
"""Folder with split files of all frames of held-out videos; empty ones have no box."""

_SPRITE = (96, 192)  # height, width of the sprite that an object is drawn on
_LONG_SHARE = 0.2  # share of the shots that are long
_EMPTY_RUN = 0.25  # share of a shot's frames that are empty, in shots that have empty frames


@dataclass(frozen=True)
class Effects:
    """What happens in the clips; each can be switched off.

    Attributes:
        telling_part: the glyph that tells the class.
        material: shading and strokes on bodies; off: flat colour.
        video_colors: body colours drawn per video; off: one colour for all.
        texture: textured background; off: flat.
        distractors: flat-coloured shapes without part and material in the background.
        camera_motion: the background pans and zooms.
        object_motion: the object moves from frame to frame.
        scale_change: the object changes its size along the shot.
        brightness_drift: the brightness changes along the shot.
        jpeg: JPEG artefacts (quality 80; off: 100).
        empty_frames: some shots have frames without the object.
    """

    telling_part: bool = True
    material: bool = True
    video_colors: bool = True
    texture: bool = True
    distractors: bool = True
    camera_motion: bool = True
    object_motion: bool = True
    scale_change: bool = True
    brightness_drift: bool = True
    jpeg: bool = True
    empty_frames: bool = True


@dataclass(frozen=True)
class ClipSet:
    """Size and look of a built-in clip set.

    Attributes:
        seed: everything is drawn from it.
        width, height: of a frame, pixels.
        videos: videos a class in train, val and test.
        shots: fewest and most shots a video.
        frames: fewest and most frames of a short shot.
        long_frames: fewest and most frames of a long shot; one shot in five is long.
        boxed: frames with boxes a shot, in val and test.
        length: shortest and longest body, as a share of the frame's shorter side.
        aspect: smallest and largest ratio of a body's length to its width.
        part_place: where the part sits along the body: 0 its middle, 1 its end.
        effects: what happens in the clips.
    """

    seed: int = 0
    width: int = 144
    height: int = 108
    videos: tuple[int, int, int] = (90, 10, 12)
    shots: tuple[int, int] = (1, 2)
    frames: tuple[int, int] = (10, 16)
    long_frames: tuple[int, int] = (30, 36)
    boxed: int = 5
    length: tuple[float, float] = (0.4, 0.8)
    aspect: tuple[float, float] = (1.4, 2.2)
    part_place: float = 0.4
    effects: Effects = field(default_factory=Effects)


SIZES: dict[str, ClipSet] = {
    "default": ClipSet(),
    "small": ClipSet(videos=(6, 2, 2), shots=(1, 1), boxed=3),
    "large": ClipSet(width=288, height=216),
}
"""By name: what a plain `train.py` writes, what a smoke test needs, and larger frames."""


def builtin_folder(size: str, seed: int) -> Path:
    """Writes, where it does not stand yet, the built-in clip set `size` of a seed; its folder."""
    return write_clip_set(Path("runs") / f"clips-{size}-{seed}", replace(SIZES[size], seed=seed))


@dataclass(frozen=True)
class Video:
    """What stays the same within one video.

    Attributes:
        sprite: (h, w, 4) float32 in 0…1, premultiplied by its last channel (opacity).
        length, aspect: of the body; length as a share of the frame's shorter side.
        background: three colours, RGB 0…255.
    """

    sprite: np.ndarray
    length: float
    background: np.ndarray


def write_clip_set(folder: Path | str, clip_set: ClipSet | None = None) -> Path:
    """Writes the clip set below `folder` and returns it; does nothing where it stands already.

    The folder holds `<class>/data/<video>/shots/<shot>/frameNNNN.jpg`, `<class>/sets/*.txt`,
    `splits/` in the field's format, `EVERY_FRAME`/val and /test in it too, and `clip_set.json`. It
    appears whole or not at all, and replaces a built-in clip set of other settings.

    Raises:
        UserError: `folder` exists and is something else, or cannot be made.
    """
    folder, clip_set = Path(folder), clip_set or ClipSet()
    description = json.dumps({"version": VERSION, **asdict(clip_set)}, indent=1)
    marker = folder / "clip_set.json"
    if marker.is_file() and marker.read_text() == description:
        return folder
    if folder.exists() and not marker.is_file():
        raise UserError(f"{folder}: exists and is not a built-in clip set; move it away")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror})") from error
    try:
        _write_all(unfinished, clip_set)
        (unfinished / marker.name).write_text(description)
        if marker.is_file() and marker.read_text() == description:
            return folder  # another process was faster, and may be reading it
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write_all(folder: Path, clip_set: ClipSet) -> None:
    jobs = []
    for label, name in enumerate(CLASSES):
        first = 0
        for split, count in zip(("train", "val", "test"), clip_set.videos, strict=True):
            jobs += [(split, label, f"{name}/data/{first + i:04d}") for i in range(count)]
            first += count
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV releases the interpreter's lock
        written = list(pool.map(lambda job: _write_video(folder, clip_set, *job), jobs))
    for split in ("train", "val", "test"):
        of_split = [rs for job, rs in zip(jobs, written, strict=True) if job[0] == split]
        write_split(folder / "splits" / split, [r for chosen, _ in of_split for r in chosen])
        if split != "train":
            every = [r for _, every in of_split for r in every]
            write_split(folder / EVERY_FRAME / split, every)
    for place in ("splits", EVERY_FRAME):
        write_class_ids(folder / place / "class_id.yaml", CLASSES)
    for name in CLASSES:
        sets = folder / name / "sets"
        sets.mkdir()
        own = [(split, Path(video).name) for split, _, video in jobs if video.startswith(name)]
        (sets / "test.txt").write_text("".join(f"{v}\n" for s, v in own if s == "test"))
        (sets / "train.txt").write_text("".join(f"{v}\n" for s, v in own if s != "test"))


def _write_video(
    folder: Path, clip_set: ClipSet, split: str, label: int, name: str
) -> tuple[list[SplitRecord], list[SplitRecord]]:
    """Draws and writes a video; what its split lists, and all frames of a held-out one."""
    rng = np.random.default_rng([clip_set.seed, label, int(name[-4:])])
    video = draw_video(clip_set, label, rng)
    size = (clip_set.width, clip_set.height)
    records: list[SplitRecord] = []
    every: list[SplitRecord] = []
    for number in range(rng.integers(clip_set.shots[0], clip_set.shots[1] + 1)):
        shot = f"{name}/shots/{number + 1:03d}"
        (folder / shot).mkdir(parents=True)
        frames, boxes = draw_shot(clip_set, video, rng)
        for t, frame in enumerate(frames):
            quality = 80 if clip_set.effects.jpeg else 100
            file = folder / shot / f"frame{t + 1:04d}.jpg"
            _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            file.write_bytes(data.tobytes())
        if split == "train":
            records.append(SplitRecord(shot, label, None, ()))
            continue
        of_shot = [
            SplitRecord(f"{shot}/frame{t + 1:04d}.jpg", label, size, () if box is None else (box,))
            for t, box in enumerate(boxes)
        ]
        every += of_shot
        seen = [record for record in of_shot if record.boxes]
        chosen = np.linspace(0, len(seen) - 1, min(clip_set.boxed, len(seen))).round().astype(int)
        records += [seen[place] for place in chosen]
    return records, every


def draw_video(clip_set: ClipSet, label: int, rng: np.random.Generator) -> Video:
    """Draws what stays the same within a video of class `label`: body, part, palette."""
    effects = clip_set.effects
    body, background = _palette(rng)
    if not effects.video_colors:
        body = np.array([[200, 120, 60], [150, 80, 40]], np.float32)
    aspect = rng.uniform(*clip_set.aspect)
    sprite = _draw_body(body, aspect, effects.material, rng)
    if effects.telling_part:
        _draw_part(sprite, label, aspect, clip_set.part_place, rng)
    return Video(sprite, rng.uniform(*clip_set.length), background)


def _palette(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two body colours near each other, three background colours away from them, RGB 0…255."""
    body = rng.uniform(60, 230, 3)
    second = np.clip(body + rng.normal(0, 22, 3), 30, 245)
    background: list[np.ndarray] = []
    while len(background) < 3:
        color = _muted(rng)
        if min(np.linalg.norm(color - body), np.linalg.norm(color - second)) > 70:
            background.append(color)
    return np.stack([body, second]).astype(np.float32), np.stack(background).astype(np.float32)


def _muted(rng: np.random.Generator) -> np.ndarray:
    """A colour of half saturation, as most of what stands behind objects has: RGB 0…255."""
    color = rng.uniform(20, 235, 3)
    return (color + color.mean()) / 2


def _draw_body(
    colors: np.ndarray, aspect: float, material: bool, rng: np.random.Generator
) -> np.ndarray:
    """A rounded, tapered form along the sprite's width: (h, w, 4), premultiplied."""
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
        # Coarse enough to be seen where an object is shrunk to a third of its sprite.
        strokes = cv2.GaussianBlur(
            rng.normal(0, 1, _SPRITE).astype(np.float32), (0, 0), sigmaX=14, sigmaY=2.2
        )
        color = color * shade[..., None] + 30 * (strokes / strokes.std())[..., None]
    color = np.clip(color, 0, 255) / 255
    return np.concatenate([color * opacity, opacity], axis=2).astype(np.float32)


def _draw_part(
    sprite: np.ndarray, label: int, aspect: float, place: float, rng: np.random.Generator
) -> None:
    """Draws the class's glyph on the body, near one end, in place."""
    height, width = _SPRITE
    radius = 0.46 * width / aspect * 0.55
    center = (width - 1) / 2 - place * 0.46 * width, (height - 1) / 2
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
    """Noise of unit variance whose spots are about `grain` pixels wide: (h, w)."""
    small = [max(2, int(np.ceil(side / grain * 2))) for side in shape]
    noise = cv2.resize(
        rng.normal(0, 1, small).astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def draw_world(clip_set: ClipSet, video: Video, rng: np.random.Generator) -> np.ndarray:
    """Background of one shot, larger than the frame: (1.5·height, 1.5·width, 3) float32, 0…1."""
    shape = (int(clip_set.height * 1.5), int(clip_set.width * 1.5))
    world = np.broadcast_to(video.background[0], (*shape, 3)).copy()
    if clip_set.effects.texture:
        for color, grain in zip(video.background[1:], (48, 24), strict=True):
            share = 1 / (1 + np.exp(-4 * _smooth_noise(rng, shape, grain)))[..., None]
            world = world * (1 - share) + color * share
        world += 10 * _smooth_noise(rng, shape, 8)[..., None] * rng.uniform(0.7, 1.3, 3)
    if clip_set.effects.distractors:
        for _ in range(rng.integers(3, 7)):
            _draw_distractor(world, clip_set, rng)
    return (np.clip(world, 0, 255) / 255).astype(np.float32)


def _draw_distractor(world: np.ndarray, clip_set: ClipSet, rng: np.random.Generator) -> None:
    """A flat-coloured ellipse or box, of the sizes that bodies have, in place."""
    height, width = world.shape[:2]
    side = rng.uniform(0.15, 0.4) * min(clip_set.width, clip_set.height)
    axes = (side, side / rng.uniform(1, 2.5))
    center = rng.uniform(0, width), rng.uniform(0, height)
    color, angle = _muted(rng), rng.uniform(0, 180)
    if rng.random() < 0.5:
        cv2.ellipse(world, (center, (2 * axes[0], 2 * axes[1]), angle), color, -1, cv2.LINE_AA)
    else:
        corners = cv2.boxPoints((center, (1.6 * axes[0], 1.6 * axes[1]), angle))
        cv2.fillConvexPoly(world, corners.astype(np.int32), color, cv2.LINE_AA)


def draw_shot(
    clip_set: ClipSet, video: Video, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[Box | None]]:
    """Draws one shot: frames (H, W, 3) uint8 RGB; the object's box in each, None where empty."""
    world = draw_world(clip_set, video, rng)
    fewest, most = clip_set.long_frames if rng.random() < _LONG_SHARE else clip_set.frames
    count = int(rng.integers(fewest, most + 1))
    places, scales, angles = _object_path(clip_set, video, count, rng)
    views = _camera_path(clip_set, count, rng)
    brightness = _walk(rng, count, 0.22) if clip_set.effects.brightness_drift else np.zeros(count)
    empty = np.zeros(count, bool)
    if clip_set.effects.empty_frames and rng.random() < 0.25:
        start = rng.integers(0, count)
        empty[start : start + max(1, int(_EMPTY_RUN * count))] = True
    frames, boxes = [], []
    for t in range(count):
        frame = cv2.warpAffine(
            world, views[t], (clip_set.width, clip_set.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        box = None
        if not empty[t]:
            frame, box = _paste(frame, video.sprite, places[t], scales[t], angles[t])
        frames.append((np.clip(frame * (1 + brightness[t]), 0, 1) * 255).astype(np.uint8))
        boxes.append(box)
    return frames, boxes


def _walk(rng: np.random.Generator, count: int, reach: float) -> np.ndarray:
    """A smooth path of `count` values within ±reach."""
    phase, turns = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.2)
    return reach * rng.uniform(0.4, 1) * np.sin(phase + np.linspace(0, 2 * np.pi * turns, count))


def _object_path(
    clip_set: ClipSet, video: Video, count: int, rng: np.random.Generator
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
    """Affine maps (T, 2, 3) from frame pixels to pixels of the world."""
    moves = clip_set.effects.camera_motion
    pan = [_walk(rng, count, 0.2) if moves else np.zeros(count) for _ in range(2)]
    zoom = np.exp(_walk(rng, count, 0.12) if moves else np.zeros(count))
    views = np.zeros((count, 2, 3), np.float32)
    for axis, side in enumerate((clip_set.width, clip_set.height)):
        views[:, axis, axis] = zoom
        views[:, axis, 2] = side * (0.75 + pan[axis] - 0.5 * zoom)
    return views


def _paste(
    frame: np.ndarray, sprite: np.ndarray, place: np.ndarray, scale: float, angle: float
) -> tuple[np.ndarray, Box]:
    """Lays the sprite over the frame; the box is that of all pixels it covers by half or more."""
    height, width = frame.shape[:2]
    middle = (sprite.shape[1] - 1) / 2, (sprite.shape[0] - 1) / 2
    affine = cv2.getRotationMatrix2D(middle, angle, scale)
    affine[:, 2] += place - middle
    shrunk = cv2.GaussianBlur(sprite, (0, 0), max(0.4 / scale, 0.3))  # against aliasing
    layer = cv2.warpAffine(shrunk, affine, (width, height), flags=cv2.INTER_LINEAR)
    covered = layer[..., 3] >= 0.5
    xs, ys = np.flatnonzero(covered.any(0)), np.flatnonzero(covered.any(1))
    box = (float(xs[0]), float(ys[0]), float(xs[-1]), float(ys[-1]))
    return frame * (1 - layer[..., 3:]) + layer[..., :3], box

"""Built-in clip set: small synthetic videos with class tags and boxes, written to disk.

The set poses the problem of weakly supervised video object localization. Only a small part of an
object, a glyph near one end, identifies its class: that part is what a CAM activates on. The object
is the whole body around it, with many times the glyph's area. Body colours differ between videos
and stay constant within one, which the colour terms of the loss use. All classes share the material
of the bodies, fine strokes along a rounded, shaded form; backgrounds lack it.

The files follow the layout of YouTube-Objects v1, with split files and boxes, and are read by the
same loader. `builtin_settings` describes a set, `builtin_drawing` draws its frames.
"""

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

from colocam.data.layouts.builtin_drawing import draw_shot, draw_video
from colocam.data.layouts.builtin_settings import ClipSet
from colocam.data.layouts.split_files import SplitRecord, write_class_ids, write_split
from colocam.runtime.errors import UserError

CLASSES = ("checker", "cross", "rings", "stripes")
VERSION = 2
EVERY_FRAME = "every-frame"
"""Folder of split files that list all frames of held-out videos; empty frames have no box."""

SIZES: dict[str, ClipSet] = {
    "default": ClipSet(),
    "small": ClipSet(videos=(6, 2, 2), shots=(1, 1), boxed=3),
    "large": ClipSet(width=288, height=216),
}
"""Named settings: the default, a set for smoke tests, and one of larger frames."""

_SPLITS = ("train", "val", "test")


def builtin_folder(size: str, seed: int) -> Path:
    """Returns the folder of a built-in clip set, which is written if it does not exist.

    Args:
        size: a key of `SIZES`.
        seed: seed of the set, at least 0.
    """
    return write_clip_set(Path("runs") / f"clips-{size}-{seed}", replace(SIZES[size], seed=seed))


def write_clip_set(folder: Path | str, clip_set: ClipSet | None = None) -> Path:
    """Writes a clip set to a folder atomically; a folder that already holds it is not touched.

    The folder holds `<class>/data/<video>/shots/<shot>/frameNNNN.jpg`, `<class>/sets/*.txt`, split
    files in `splits/` and, of all frames of val and test, in `every-frame/`, and `clip_set.json`. A
    built-in clip set of other settings is replaced.

    Args:
        folder: the folder to write.
        clip_set: settings of the set; None: the defaults.

    Returns:
        `folder` as a path.

    Raises:
        UserError: `folder` exists and is not a built-in clip set, or cannot be created.
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
        raise UserError(f"{folder}: cannot be created ({error.strerror})") from error
    try:
        _write_all(unfinished, clip_set)
        (unfinished / marker.name).write_text(description)
        if marker.is_file() and marker.read_text() == description:
            return folder  # written meanwhile by another process, which may be reading it
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write_all(folder: Path, clip_set: ClipSet) -> None:
    """Writes frames, lists of videos and split files of all classes."""
    jobs: list[tuple[str, int, str]] = []  # split, label, folder of the video
    for label, name in enumerate(CLASSES):
        first = 0
        for split, count in zip(_SPLITS, clip_set.videos, strict=True):
            jobs += [(split, label, f"{name}/data/{first + i:04d}") for i in range(count)]
            first += count
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV releases the interpreter's lock
        written = list(pool.map(lambda job: _write_video(folder, clip_set, *job), jobs))
    for split in _SPLITS:
        of_split = [records for job, records in zip(jobs, written, strict=True) if job[0] == split]
        write_split(folder / "splits" / split, [r for chosen, _ in of_split for r in chosen])
        if split != "train":
            every = [record for _, every in of_split for record in every]
            write_split(folder / EVERY_FRAME / split, every)
    for splits in ("splits", EVERY_FRAME):
        write_class_ids(folder / splits / "class_id.yaml", CLASSES)
    for name in CLASSES:
        sets = folder / name / "sets"
        sets.mkdir()
        own = [(split, Path(video).name) for split, _, video in jobs if video.startswith(name)]
        (sets / "test.txt").write_text("".join(f"{v}\n" for s, v in own if s == "test"))
        (sets / "train.txt").write_text("".join(f"{v}\n" for s, v in own if s != "test"))


def _write_video(
    folder: Path, clip_set: ClipSet, split: str, label: int, name: str
) -> tuple[list[SplitRecord], list[SplitRecord]]:
    """Draws and writes a video.

    Returns:
        The records of its split, and those of all frames if the video is held out.
    """
    rng = np.random.default_rng([clip_set.seed, label, int(name[-4:])])
    video = draw_video(clip_set, label, rng)
    size = (clip_set.width, clip_set.height)
    records: list[SplitRecord] = []
    every: list[SplitRecord] = []
    for number in range(rng.integers(clip_set.shots[0], clip_set.shots[1] + 1)):
        shot = f"{name}/shots/{number + 1:03d}"
        frames, boxes = draw_shot(clip_set, video, rng)
        _write_frames(folder / shot, frames, quality=80 if clip_set.effects.jpeg else 100)
        if split == "train":
            records.append(SplitRecord(shot, label, None, ()))
            continue
        of_shot = [
            SplitRecord(f"{shot}/{_file_name(t)}", label, size, () if box is None else (box,))
            for t, box in enumerate(boxes)
        ]
        every += of_shot
        boxed = [record for record in of_shot if record.boxes]
        chosen = np.linspace(0, len(boxed) - 1, min(clip_set.boxed, len(boxed)))
        records += [boxed[index] for index in chosen.round().astype(int)]
    return records, every


def _write_frames(folder: Path, frames: list[np.ndarray], quality: int) -> None:
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames):
        _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        (folder / _file_name(t)).write_bytes(data.tobytes())


def _file_name(t: int) -> str:
    return f"frame{t + 1:04d}.jpg"

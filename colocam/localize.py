"""A video in, boxes and an overlay video out; and a checkpoint as a Python object."""

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from colocam.device import make_autocast, pick_device
from colocam.entry import CommandParser, exit_status
from colocam.errors import UserError
from colocam.evaluation.boxes import Box
from colocam.evaluation.evaluate import run_model
from colocam.evaluation.pictures import RED, draw_box
from colocam.evaluation.predictions import locate, probabilities
from colocam.evaluation.report import DEFAULT_THRESHOLD
from colocam.files import write_whole
from colocam.model.checkpoint import load_checkpoint
from colocam.video.frames import ImageFrames, VideoFrames, open_video
from colocam.video.notes import count_of
from colocam.video.transforms import resized, to_tensor


@dataclass(frozen=True)
class Localization:
    """What was found in one frame.

    Attributes:
        class_name: the most probable class.
        probability: of that class, 0…1.
        box: x0, y0, x1, y1 in pixels of the original frame, corners included; None where the
            score map has no contour.
        score: mean of the score map within the box, 0…1.
        score_map: (S, S) float32, S¹ at the model's size.
    """

    class_name: str
    probability: float
    box: Box | None
    score: float
    score_map: np.ndarray


class VideoLocalizer:
    """A localizer read from a checkpoint.

    Args:
        ckpt: a localizer's checkpoint.
        device: "auto", "cpu" or "cuda".
        amp: "auto", "off", "bf16" or "fp16": mixed precision.

    Attributes:
        classes: class names.

    Raises:
        UserError: the checkpoint cannot be used.
    """

    def __init__(self, ckpt: Path | str, device: str = "auto", amp: str = "auto") -> None:
        model, self.info = load_checkpoint(ckpt, "localizer")
        self.device = pick_device(device)
        self.autocast = make_autocast(amp, self.device)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.classes = self.info.classes

    def localize(self, frames: Sequence[np.ndarray]) -> list[Localization]:
        """One box a frame, from that frame alone.

        Args:
            frames: (H, W, 3) uint8 RGB each; sizes may differ.

        Raises:
            ValueError: a frame of another shape or type.
        """
        for frame in frames:
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
                raise ValueError(
                    f"frames: expected (H, W, 3) uint8, got {frame.shape} {frame.dtype}"
                )
        if not frames:
            return []
        images = to_tensor([resized(frame, self.info.size) for frame in frames]).to(self.device)
        with self.autocast():
            outputs = run_model(self.model, images, None, None)
        threshold = DEFAULT_THRESHOLD if self.info.threshold is None else self.info.threshold
        found = []
        for frame, likely, score_map in zip(
            frames, probabilities(outputs.logits), outputs.scores, strict=True
        ):
            label = int(likely.argmax())
            box, score = locate(score_map, threshold, frame.shape[1::-1])
            found.append(
                Localization(self.classes[label], float(likely[label]), box, score, score_map)
            )
        return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (None: the process's) and returns its exit status."""
    return exit_status(lambda: _localize_all(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m colocam.localize",
        description="Draws a box on every frame of videos: overlay videos and boxes.json.",
    )
    add = parser.add_argument
    add("videos", type=Path, nargs="+", metavar="VIDEO", help="video file or folder of frames")
    add("--ckpt", type=Path, required=True, metavar="FILE", help="a localizer's checkpoint")
    add("--out", type=Path, default=Path("localized"), metavar="DIR", help="(default: localized)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--amp", choices=("auto", "off", "bf16", "fp16"), default="auto", help="mixed precision")
    add("--batch-size", type=int, default=16, metavar="N", help="frames a forward pass")
    return parser


def _localize_all(options: argparse.Namespace) -> None:
    if options.batch_size < 1:
        raise UserError(f"--batch-size {options.batch_size}: must be at least 1")
    console = Console()
    localizer = VideoLocalizer(options.ckpt, options.device, options.amp)
    notes: list[str] = []
    sources = [(path, open_video(path, str(path), notes)) for path in options.videos]
    for note in notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    records: list[dict[str, Any]] = []
    for (path, source), overlay in zip(sources, _overlay_paths(options), strict=True):
        records += _localize_video(localizer, path, source, overlay, options.batch_size, console)
    boxes = options.out / "boxes.json"
    write_whole(boxes, (json.dumps(records, indent=1) + "\n").encode())
    console.print(f"{boxes}: {len(records)} frames", markup=False)


def _overlay_paths(options: argparse.Namespace) -> list[Path]:
    """One overlay a video; videos of the same name get a number behind it."""
    names: list[str] = []
    for path in options.videos:
        stem = path.resolve().stem
        numbered = (f"{stem}-{number}" for number in itertools.count(2))
        names.append(next(name for name in itertools.chain([stem], numbered) if name not in names))
    return [options.out / f"{name}-overlay.mp4" for name in names]


def _localize_video(
    localizer: VideoLocalizer,
    path: Path,
    source: ImageFrames | VideoFrames,
    overlay: Path,
    batch_size: int,
    console: Console,
) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    unreadable = 0
    with Overlay(overlay, _frame_rate(path)) as writer, Progress(console=console) as progress:
        bar = progress.add_task(escape(str(path)), total=len(source))
        for batch in _batches(source, batch_size):
            readable = [(index, frame) for index, frame in batch if frame is not None]
            unreadable += len(batch) - len(readable)
            found = localizer.localize([frame for _, frame in readable])
            for (index, frame), result in zip(readable, found, strict=True):
                writer.write(draw_result(frame, result))
                records.append(_record(path, index, result))
            progress.advance(bar, len(batch))
    if unreadable:
        left_out = count_of(unreadable, "frame")
        console.print(
            f"warning: {path}: {left_out} cannot be decoded, left out",
            style="yellow",
            markup=False,
        )
    console.print(f"{overlay}: {len(records)} frames", markup=False)
    return records


def _batches(
    source: ImageFrames | VideoFrames, size: int
) -> Iterator[list[tuple[int, np.ndarray | None]]]:
    batch: list[tuple[int, np.ndarray | None]] = []
    for item in enumerate(source):
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _record(path: Path, index: int, result: Localization) -> dict[str, Any]:
    return {
        "video": str(path),
        "frame": index,
        "class": result.class_name,
        "probability": round(result.probability, 4),
        "box": None if result.box is None else [float(side) for side in result.box],
        "score": round(result.score, 4),
    }


def draw_result(frame: np.ndarray, result: Localization) -> np.ndarray:
    """A copy of the frame (H, W, 3) uint8 RGB with box, class and probability."""
    thickness = max(2, round(min(frame.shape[:2]) / 160))
    picture = frame.copy()
    if result.box is not None:
        box = tuple(round(side) for side in result.box)
        picture = draw_box(picture, box, RED, thickness)
    text = f"{result.class_name} {result.probability:.2f}"
    scale = max(0.4, min(frame.shape[:2]) / 600)
    (_, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    place = (thickness * 3, height + thickness * 3)
    for color, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):  # white on a dark rim
        cv2.putText(
            picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, color, width, cv2.LINE_AA
        )
    return picture


def _frame_rate(path: Path) -> float:
    """Frames a second of a video file; 25 for folders and files that do not say."""
    if path.is_dir():
        return 25.0
    capture = cv2.VideoCapture(str(path))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate if 0 < rate < 1000 else 25.0


class Overlay:
    """Writes frames to an mp4 that appears under its name when it is whole.

    Args:
        path: of the video; missing folders are made.
        rate: frames a second.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self.unfinished = path.with_name(f".{path.stem}-unfinished.mp4")
        self.writer: cv2.VideoWriter | None = None
        self.size = (0, 0)

    def __enter__(self) -> "Overlay":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--out {self.path.parent}: cannot be made ({error.strerror})"
            ) from error
        return self

    def write(self, frame: np.ndarray) -> None:
        """Appends a frame (H, W, 3) uint8 RGB; all are brought to the size of the first."""
        if self.writer is None:
            self.size = (frame.shape[1] // 2 * 2, frame.shape[0] // 2 * 2)  # the codec wants even
            codec = cv2.VideoWriter_fourcc(*"mp4v")
            self.writer = cv2.VideoWriter(str(self.unfinished), codec, self.rate, self.size)
            if not self.writer.isOpened():
                raise UserError(f"{self.path}: the overlay video cannot be written")
        if frame.shape[1::-1] != self.size:
            frame = cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA)
        self.writer.write(np.ascontiguousarray(frame[..., ::-1]))

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self.writer is not None:
            self.writer.release()
        if kind is None and self.unfinished.exists():
            self.unfinished.replace(self.path)
        self.unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    raise SystemExit(main())

"""Splits of a plain folder: training videos, validation and test frames, drawn by a seed."""

from __future__ import annotations

import zlib

import numpy as np

from colocam.data.decoding.probe_cache import ProbeCache
from colocam.data.layouts.class_folder import Video
from colocam.data.records import Box, BoxedFrame, Shot, VideoData
from colocam.data.shots.shots import cut_into_shots
from colocam.runtime.messages import count_of

FRAMES_WITHOUT_BOXES = 8
"""Number of evaluation frames of a held-out video without boxes."""


def hold_out(
    videos: dict[str, list[Video]],
    seed: int,
    notes: list[str],
    cut_over: int | None = None,
    probe_cache: ProbeCache | None = None,
) -> VideoData:
    """Splits the videos of each class by a seed.

    Of a class with three or more videos, about a fifth (at least one) are validation videos and as
    many are test videos. All videos of a smaller class are training videos, and its frames with
    boxes are both validation and test frames. A held-out video without boxes contributes up to
    eight evenly spaced frames, which count for classification only. If this leaves no validation
    frame, such frames of the training videos are used for validation and test.

    Args:
        videos: the videos of each class, in the order of their labels.
        seed: at least 0. The split of a class depends only on the seed and on that class.
        notes: lines for the user; lines on the split are appended.
        cut_over: training videos with more frames are cut into shots; None: each is one shot.
        probe_cache: stores the cuts between runs; None: they are detected anew.

    Returns:
        The data set.
    """
    train: list[Video] = []
    val: list[BoxedFrame] = []
    test: list[BoxedFrame] = []
    counts, unused = np.zeros(3, int), 0
    small = [name for name in videos if len(videos[name]) < 3]
    for name, of_class in videos.items():
        if name in small:
            train += of_class
            boxed = [frame for video in of_class for frame in _boxed_frames(video)]
            val += boxed
            test += boxed
        else:
            parts = _split_class(name, of_class, seed)
            train += parts[0]
            val += _held_out_frames(parts[1], notes)
            test += _held_out_frames(parts[2], notes)
            counts += [len(part) for part in parts]
            unused += sum(len(boxes) for video in parts[0] for boxes in video.boxes.values())
    notes += _split_notes(small, counts, unused, seed)
    if not val:
        notes.append(
            "no boxes and no video to hold out: frames of training videos are used for evaluation"
        )
        val = test = [frame for video in train for frame in _spaced_frames(video, notes)]
    shots = _shots(train, cut_over, notes, probe_cache)
    return VideoData(tuple(videos), tuple(shots), tuple(val), tuple(test), tuple(notes))


def _shots(
    videos: list[Video], cut_over: int | None, notes: list[str], probe_cache: ProbeCache | None
) -> list[Shot]:
    """Training shots: each video, or its shots if it has more than `cut_over` frames."""
    shots, num_cut, parts = [], 0, 0
    for video in videos:
        frames = video.frames
        own = [frames] if cut_over is None else cut_into_shots(frames, cut_over, probe_cache)
        shots += [Shot(one.name, video.label, video.name, one) for one in own]
        if len(own) > 1:
            num_cut, parts = num_cut + 1, parts + len(own)
    if num_cut:
        what = count_of(num_cut, "training video")
        notes.append(f"{what} of more than {cut_over} frames cut into {parts} shots")
    return shots


def _split_class(name: str, videos: list[Video], seed: int) -> tuple[list[Video], ...]:
    """(train, val, test), each in the order of `videos`."""
    held_out = max(1, round(0.2 * len(videos)))
    # crc32: hash() of a string differs between runs
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    # Drawn from names as characters: the split does not depend on the order of the files.
    by_name = np.array(sorted(range(len(videos)), key=lambda place: videos[place].name))
    order = by_name[rng.permutation(len(videos))]
    parts = order[2 * held_out :], order[:held_out], order[held_out : 2 * held_out]
    return tuple([videos[i] for i in sorted(part)] for part in parts)


def _split_notes(small: list[str], counts: np.ndarray, unused: int, seed: int) -> list[str]:
    notes = []
    if counts.any():
        train, val, test = counts
        notes.append(
            f"videos split within each class by seed {seed}: {train} train, {val} validation, "
            f"{test} test"
        )
    if unused:
        notes.append(f"boxes.csv: {count_of(unused, 'box')} of training videos not used")
    if small:
        names = ", ".join(small[:5]) + (", ..." if len(small) > 5 else "")
        notes.append(
            f"fewer than three videos in {names}: all are used for training, and their frames with "
            "boxes for both validation and test"
        )
    return notes


def _held_out_frames(videos: list[Video], notes: list[str]) -> list[BoxedFrame]:
    return [
        frame
        for video in videos
        for frame in (_boxed_frames(video) if video.boxes else _spaced_frames(video, notes))
    ]


def _boxed_frames(video: Video) -> list[BoxedFrame]:
    return [_frame(video, index, boxes) for index, boxes in video.boxes.items()]


def _spaced_frames(video: Video, notes: list[str]) -> list[BoxedFrame]:
    """Up to eight frames, the middles of equal parts of the video; undecodable ones are skipped."""
    num_frames = len(video.frames)
    parts = min(FRAMES_WITHOUT_BOXES, num_frames)
    indices = [(2 * part + 1) * num_frames // (2 * parts) for part in range(parts)]
    bad = [index for index in indices if video.frames.frame_size(index) is None]
    if bad:
        what = f"{len(bad)} of {count_of(parts, 'frame')} to evaluate on"
        notes.append(f"{video.name}: {what} cannot be decoded, skipped (first: {bad[0]})")
    return [_frame(video, index, ()) for index in indices if index not in bad]


def _frame(video: Video, index: int, boxes: tuple[Box, ...]) -> BoxedFrame:
    return BoxedFrame(f"{video.name}#{index}", video.label, video.name, video.frames, index, boxes)

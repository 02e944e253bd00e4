"""Split of a plain folder into training videos, validation and test frames: drawn, or stored."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np

from colocam.data.decoding.probe_cache import ProbeCache
from colocam.data.layouts.class_folder import Video
from colocam.data.layouts.stored_split import Match, StoredSplit, fingerprint
from colocam.data.records import Box, BoxedFrame, Shot, VideoData
from colocam.data.shots.shots import cut_into_shots
from colocam.runtime.messages import count_of

FRAMES_WITHOUT_BOXES = 8
"""Number of evaluation frames of a held-out video without boxes."""


@dataclass
class Parts:
    """Videos of one class by part of the split.

    Attributes:
        train, val, test: of the split; without val and test, frames of `train` are evaluated.
        new: videos that a stored split does not have.
        small: whether the class had fewer than three videos.
    """

    train: list[Video] = field(default_factory=list)
    val: list[Video] = field(default_factory=list)
    test: list[Video] = field(default_factory=list)
    new: list[Video] = field(default_factory=list)
    small: bool = False


def hold_out(
    videos: dict[str, list[Video]],
    seed: int,
    notes: list[str],
    cut_over: int | None = None,
    probe_cache: ProbeCache | None = None,
    split: StoredSplit | None = None,
    evaluating: bool = False,
) -> VideoData:
    """Splits the videos of each class by a seed, or as a stored split says.

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
        split: of the run that is resumed or evaluated; None: it is drawn. If it has no video of the
            folder, it is drawn, too.
        evaluating: whether a checkpoint is evaluated that was trained by `split`: a video belongs
            to it by its contents only, and all videos of a folder without one are test videos:
            their frames with boxes or, without any box, the evenly spaced ones.

    Returns:
        The data set.
    """
    stored = None if split is None else _stored_parts(videos, split, notes, evaluating)
    parts = _drawn_parts(videos, seed) if stored is None else stored
    train = [video for own in parts.values() for video in own.train]
    if evaluating and split is not None and stored is None:  # nothing of it was trained on
        every = [video for of_class in videos.values() for video in of_class]
        val, _ = _evaluation_frames(parts, [])
        test = [frame for video in every for frame in _boxed_frames(video)]
        test = test or _held_out_frames(every, notes)
    else:
        val, test = _evaluation_frames(parts, notes)
        notes += _split_notes(parts, "the stored split" if stored else f"seed {seed}")
        if not val and not (stored and split and (split.val or split.test)):
            notes.append(
                "no boxes and no video to hold out: frames of training videos are used for "
                "evaluation"
            )
            val = test = [frame for video in train for frame in _spaced_frames(video, notes)]
    new = _held_out_frames([video for own in parts.values() for video in own.new], notes)
    shots = _shots(train, cut_over, notes, probe_cache)
    return VideoData(tuple(videos), tuple(shots), tuple(val), tuple(test), tuple(notes), tuple(new))


def _evaluation_frames(
    parts: dict[str, Parts], notes: list[str]
) -> tuple[list[BoxedFrame], list[BoxedFrame]]:
    """Validation and test frames."""
    val: list[BoxedFrame] = []
    test: list[BoxedFrame] = []
    for own in parts.values():
        if own.small:
            boxed = [frame for video in own.train for frame in _boxed_frames(video)]
            val += boxed
            test += boxed
        val += _held_out_frames(own.val, notes)
        test += _held_out_frames(own.test, notes)
    return val, test


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


def _drawn_parts(videos: dict[str, list[Video]], seed: int) -> dict[str, Parts]:
    return {
        name: Parts(of_class, small=True) if len(of_class) < 3 else _draw(name, of_class, seed)
        for name, of_class in videos.items()
    }


def _draw(name: str, videos: list[Video], seed: int) -> Parts:
    """Parts of a class, each in the order of `videos`."""
    held_out = max(1, round(0.2 * len(videos)))
    # crc32: hash() of a string differs between runs
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    # Drawn from names as characters: the split does not depend on the order of the files.
    by_name = np.array(sorted(range(len(videos)), key=lambda place: videos[place].name))
    order = by_name[rng.permutation(len(videos))]
    parts = order[2 * held_out :], order[:held_out], order[held_out : 2 * held_out]
    train, val, test = ([videos[i] for i in sorted(part)] for part in parts)
    return Parts(train, val, test)


def _stored_parts(
    videos: dict[str, list[Video]], split: StoredSplit, notes: list[str], evaluating: bool
) -> dict[str, Parts] | None:
    """Parts by a stored split; None if the folder has no video of it."""
    prints = {v.name: fingerprint(v.frames) for of in videos.values() for v in of}
    match = split.match(prints)
    if not (match.same or match.renamed) and (evaluating or not match.changed):
        notes.append(_unknown_note(match, evaluating))
        return None
    parts = {name: Parts() for name in videos}
    for name, own in parts.items():
        for video in videos[name]:
            getattr(own, match.parts.get(video.name, "new")).append(video)
        own.small = bool(own.train) and not split.has_held_out(name)
    held_out = any(own.val or own.test for own in parts.values())
    overlaps = evaluating and not held_out and bool(split.val or split.test)
    if overlaps:  # another collection, with some of the training videos
        for own in parts.values():
            own.test = own.new
    hint = "a new run trains on" if not evaluating else "--split new evaluates"
    if overlaps:
        hint = "the folder has no test video of the run, this tests"
    notes += _match_notes(match, split, evaluating, hint)
    return parts


def _unknown_note(match: Match, evaluating: bool) -> str:
    total = count_of(len(match.parts) + len(match.new), "video")
    if not evaluating:
        return f"none of {total} is in the stored split of the run: it is drawn anew"
    note = f"none of {total} was trained on (compared by contents): all are tested"
    if same := sorted(match.changed):
        note += f"; {len(same)} have names of the stored split (first: {same[0]})"
    return note


def _match_notes(match: Match, split: StoredSplit, evaluating: bool, hint: str) -> list[str]:
    """Notes on how a folder differs from that of the stored split; `hint`: on new videos."""
    notes = []
    if new := match.new:
        notes.append(
            f"{count_of(len(new), 'video')} added since training, in no part of the split; {hint} "
            f"{'it' if len(new) == 1 else 'them'} (first: {new[0]})"
        )
    if renamed := match.renamed:
        name = next(iter(renamed))
        notes.append(
            f"{count_of(len(renamed), 'video')} in the stored split under another name, by "
            f"contents (first: {name}, there {renamed[name]})"
        )
    if changed := match.changed:
        notes.append(
            f"{count_of(len(changed), 'video')} changed since training, and kept in the same part "
            f"of the split (first: {changed[0]})"
        )
    missing = [name for name in match.missing if not evaluating or name not in split.train]
    if missing:
        notes.append(
            f"{count_of(len(missing), 'video')} of the stored split not in the folder "
            f"(first: {missing[0]})"
        )
    return notes


def _split_notes(parts: dict[str, Parts], by: str) -> list[str]:
    notes = []
    large = [own for own in parts.values() if not own.small]
    if large:
        train, val, test = (
            sum(len(getattr(own, part)) for own in large) for part in ("train", "val", "test")
        )
        notes.append(
            f"videos split within each class by {by}: {train} train, {val} validation, {test} test"
        )
    unused = sum(
        len(boxes) for own in large for video in own.train for boxes in video.boxes.values()
    )
    if unused:
        notes.append(f"boxes.csv: {count_of(unused, 'box')} of training videos not used")
    small = [name for name, own in parts.items() if own.small]
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

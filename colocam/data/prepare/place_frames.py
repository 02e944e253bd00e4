"""Placement of frames: moves, links or copies image files to their folders, bytes unchanged."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from colocam.data.prepare.source_set import SourceShot


def place_frames(
    shots: Iterable[SourceShot], root: Path, unpacked: Path, advance: Callable[[int], None]
) -> Counter[str]:
    """Places the frames of shots in the folders of their ids below `root`.

    Unpacked frames are moved. Frames of the user's folders are hard-linked, which takes no space
    and keeps either folder valid when the other is removed, or copied if the file system does not
    support links.

    Args:
        shots: shots to place.
        root: the data folder.
        unpacked: folder that archives were unpacked to.
        advance: progress callback; receives the number of frames placed since the last call.

    Returns:
        Number of frames that were "moved", "hard-linked" and "copied".

    Raises:
        OSError: a frame cannot be read or written.
    """
    done: Counter[str] = Counter()
    for shot in shots:
        folder = os.path.join(root, *shot.id.split("/"))
        os.makedirs(folder)
        moving = Path(shot.folder).is_relative_to(unpacked)
        for frame in shot.frames:
            source, target = os.path.join(shot.folder, frame), os.path.join(folder, frame)
            if moving:
                os.rename(source, target)
                done["moved"] += 1
            else:
                done[link_or_copy(source, target)] += 1
        advance(len(shot.frames))
    return done


def link_or_copy(source: str, target: str) -> str:
    """Creates a hard link to a file, or a copy if it cannot be linked.

    Args:
        source: the file.
        target: path of the link or copy.

    Returns:
        "hard-linked" or "copied".

    Raises:
        OSError: the file cannot be read, or `target` cannot be written.
    """
    if not os.path.islink(source):  # a hard link to a symbolic link is a symbolic link
        try:
            os.link(source, target)
            return "hard-linked"
        except OSError:  # another file system, one without hard links, or no permission
            pass
    shutil.copyfile(source, target)
    return "copied"

"""Bringing frames to where the layout wants them, without touching what is in them."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from colocam.data.prepare.source_set import FoundShot


def place_frames(
    shots: Iterable[FoundShot], root: Path, unpacked: Path, advance: Callable[[int], None]
) -> Counter[str]:
    """Puts the frames of shots into the folders that their ids name below `root`.

    What was unpacked here is moved. Frames of folders that stay are hard-linked, which takes no
    space and leaves both folders whole when the other is removed; where the file system cannot
    link, they are copied.

    Args:
        shots: what to place.
        root: the data folder to be.
        unpacked: the folder that archives were unpacked to.
        advance: told the number of frames done since it was last told.

    Returns:
        how many frames were "moved", "hard-linked" and "copied".

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
    """Makes `target` a hard link to a file, or else a copy; tells which.

    Raises:
        OSError: the file cannot be read, or `target` not be written.
    """
    if not os.path.islink(source):  # a hard link to it would be one more symbolic link
        try:
            os.link(source, target)
            return "hard-linked"
        except OSError:  # another file system, or one without hard links, or a foreign file
            pass
    shutil.copyfile(source, target)
    return "copied"

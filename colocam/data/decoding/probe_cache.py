"""What going through whole videos found, kept in a folder, so that the next run need not do it.

A record's name is a digest of what it tells and of all that it depends on: the paths, sizes and
times of change of the files, and OpenCV's version. A changed file thus gets a record of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import cv2

_ENTRY = ".video"
UNFINISHED = ".unfinished"
"""Ends the names of files that are being written; `FrameCache` removes abandoned ones."""


class KnownVideos:
    """A folder of records, a few kilobytes each; several processes may share it.

    Args:
        folder: is made where it does not exist; where it cannot be written nothing is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def recall(
        self, files: Sequence[str], what: str, find_out: Callable[[], dict[str, object]]
    ) -> dict[str, object]:
        """What is known of a video, found out where it is not known yet or its record is damaged.

        Args:
            files: of the video.
            what: is asked, with all that the answer depends on besides files and OpenCV: the
                version of `find_out` too.
            find_out: answers it; not kept if it raises. It must survive JSON, and not be empty.
        """
        path = self.folder / f"{digest_of([what, cv2.__version__], files)}{_ENTRY}"
        try:
            known = json.loads(path.read_bytes())
        except (OSError, ValueError):
            known = None
        if isinstance(known, dict) and known:
            return known
        found = find_out()
        unfinished = path.with_name(f".{path.stem}-{secrets.token_hex(8)}{UNFINISHED}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(found))
            os.replace(unfinished, path)
        except OSError:
            pass
        finally:
            with suppress(OSError):  # once renamed it is gone
                unfinished.unlink()
        return found


def digest_of(parts: Sequence[object], files: Sequence[str]) -> str:
    """A name for what depends on these parts and on the files as they are."""
    text = repr([*parts, *map(_state_of, files)])
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _state_of(file: str) -> tuple[str, int, int] | tuple[str]:
    path = os.path.abspath(file)
    try:
        status = os.stat(path)
    except OSError:
        return (path,)
    return path, status.st_size, status.st_mtime_ns

"""Probe cache: frame counts, seek points and cuts of videos, stored on disk between runs.

The name of a record is a digest of the kind of probe and of everything that its result depends on:
paths, sizes and modification times of the files, and OpenCV's version. A modified file thus gets a
new record.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2

_RECORD = ".video"
UNFINISHED = ".unfinished"
"""Suffix of files that are being written; `FrameCache` removes abandoned ones."""


class ProbeCache:
    """Folder of probe records, about 10 bytes a frame; several processes may share it.

    Args:
        folder: created if it does not exist; nothing is stored if it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_or_probe(
        self, files: Sequence[str], key: str, probe: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Returns the stored result of a probe; without a valid record, probes and stores it.

        Args:
            files: files of the video.
            key: kind of probe, with everything that its result depends on besides the files and
                OpenCV, the version of `probe` included.
            probe: computes the result, which is not empty and can be converted to JSON. Nothing is
                stored if it raises.

        Returns:
            The result, with tuples as lists if it was stored.
        """
        path = self.folder / f"{digest_of([key, cv2.__version__], files)}{_RECORD}"
        try:
            stored = json.loads(path.read_bytes())
        except (OSError, ValueError):
            stored = None
        if isinstance(stored, dict) and stored:
            return stored
        result = probe()
        unfinished = path.with_name(f".{path.stem}-{secrets.token_hex(8)}{UNFINISHED}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(result))
            os.replace(unfinished, path)
        except OSError:
            pass
        finally:
            with suppress(OSError):  # does not exist once renamed
                unfinished.unlink()
        return result


def digest_of(parts: Sequence[object], files: Sequence[str]) -> str:
    """Returns a file name for what depends on `parts` and on the current state of the files.

    Args:
        parts: values with a stable repr.
        files: paths of the files; their sizes and modification times enter the digest.
    """
    text = repr([*parts, *map(_file_state, files)])
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _file_state(file: str) -> tuple[str, int, int] | tuple[str]:
    """Returns absolute path, size and modification time (ns); the path only if there is no file."""
    path = os.path.abspath(file)
    try:
        status = os.stat(path)
    except OSError:
        return (path,)
    return path, status.st_size, status.st_mtime_ns

"""Result files: a JSON file, and a Markdown table beside it."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from colocam.runtime.errors import UserError
from colocam.runtime.files import write_whole

RESULTS = Path(__file__).parents[1] / "results"


def result_path(given: Path | None, name: str, beside: str = ".md") -> Path:
    """Path of the JSON file, checked before anything is measured.

    Args:
        given: value of --json; None: a file in bench/results.
        name: of that file, without suffix.
        beside: suffixes of the files written beside it, for the message.

    Raises:
        UserError: not a JSON file, or not writable.
    """
    path = given or RESULTS / f"{name}.json"
    if path.suffix != ".json":
        verb = "are" if " and " in beside else "is"
        raise UserError(f"--json {path}: must end in .json; {beside} {verb} written beside it")
    check_writable(path)
    return path


def check_writable(path: Path) -> None:
    """Checks that a file can be written; missing folders are allowed.

    Raises:
        UserError: it cannot.
    """
    existing = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"--json {path}: cannot be written there")


def write_json(
    path: Path, result: Mapping[str, object], default: Callable[[object], object] | None = None
) -> None:
    """Writes a JSON file atomically.

    Args:
        path: of the file.
        result: its content.
        default: converts values that JSON cannot represent.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    write_whole(path, (json.dumps(result, indent=1, default=default) + "\n").encode())


def write_results(
    path: Path, result: Mapping[str, object], lines: Sequence[str], beside: str = ".md"
) -> None:
    """Writes a JSON file and a Markdown file beside it; prints the latter.

    Args:
        path: of the JSON file.
        result: its content.
        lines: of the Markdown file.
        beside: suffixes of all files written beside it, for the message.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    write_json(path, result)
    write_whole(path.with_suffix(".md"), ("\n".join(lines) + "\n").encode())
    print("\n".join(lines))
    print(f"{path} (and {beside} beside it)")

"""Where results go: a JSON file and what stands beside it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from colocam.runtime.errors import UserError
from colocam.runtime.files import write_atomic

RESULTS = Path(__file__).parents[1] / "results"


def result_path(given: Path | None, name: str, beside: str = ".md") -> Path:
    """Where the results go; a mistake in it is told before anything is measured.

    Args:
        given: by --json; None: a file in the folder of results.
        name: of that file, without suffix.
        beside: suffixes of what goes beside it, in words.

    Raises:
        UserError: not a JSON file, or nothing can be written there.
    """
    path = given or RESULTS / f"{name}.json"
    if path.suffix != ".json":
        verb = "go" if " and " in beside else "goes"
        raise UserError(f"--json {path}: must end in .json; {beside} {verb} beside it")
    check_writable(path)
    return path


def check_writable(path: Path) -> None:
    """Whether a file can be written, its folders being made where they are missing.

    Raises:
        UserError: no.
    """
    standing = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not standing.is_dir() or not os.access(standing, os.W_OK):
        raise UserError(f"--json {path}: cannot be written there")


def write_results(
    path: Path, result: dict[str, object], lines: Sequence[str], beside: str = ".md"
) -> None:
    """JSON, and the lines as Markdown beside it; these also go to the terminal.

    Args:
        path: of the JSON file.
        result: what stands in it.
        lines: of the Markdown file.
        beside: suffixes of all that stands beside it, in words.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())
    write_atomic(path.with_suffix(".md"), ("\n".join(lines) + "\n").encode())
    print("\n".join(lines))
    print(f"{path} (and {beside} beside it)")

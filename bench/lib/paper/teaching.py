"""Self-training: the boxes of a trained localizer as maps that its successor is trained with."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lib import ROOT

from colocam.data.layouts.open import open_data
from colocam.data.shots.shots import position_in_video
from colocam.runtime.errors import UserError


def write_maps_of_boxes(
    ckpt: Path, data: Path, splits: Path | None, seed: int, folder: Path
) -> Path:
    """Localizes the training videos, and writes maps of the boxes.

    Maps that an interrupted call left are kept.

    Args:
        ckpt: checkpoint of the localizer.
        data: data folder, as for train.py.
        splits: folder of split files, as for train.py.
        seed: of the run, which splits the videos where there are no split files.
        folder: of the boxes and, in a folder of it, the maps.

    Returns:
        The folder of the maps.

    Raises:
        UserError: a command failed.
    """
    boxes, maps = folder / "boxes" / "boxes.json", folder / "maps"
    if not boxes.is_file():
        shots = open_data(data, splits, seed=seed).train
        videos = dict.fromkeys(position_in_video(shot.frames, 0)[0].name for shot in shots)
        paths = [str(data / name) for name in videos]
        given = ["--ckpt", str(ckpt), "--out", str(boxes.parent), "--overlay", "off"]
        _run("colocam.localize", [*paths, *given])
    where = ["--data", str(data), "--seed", str(seed), "--out", str(maps)]
    where += [] if splits is None else ["--splits", str(splits)]
    _run("colocam.seed_maps", [*where, "--teacher", f"boxes:{boxes}"])
    return maps


def _run(module: str, arguments: Sequence[str]) -> None:
    # Started in the checkout, whose package is the one that is measured; paths are absolute.
    command = [sys.executable, "-m", module, *arguments]
    if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode:
        raise UserError(f"{module}: failed; its message is printed above")

"""evaluate.py --maps: CorLoc of stored maps."""

import argparse
from collections.abc import Sequence

from rich.console import Console

from colocam.data.layouts.builtin import builtin_folder
from colocam.data.layouts.open import open_data
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import CENTRE_BOX
from colocam.localization.map_corloc import missing_maps, score_maps
from colocam.report.console_tables import as_table
from colocam.report.report import CORLOC_TITLE, write_summary
from colocam.report.tables import corloc_cells, protocol_cells
from colocam.runtime.console import make_console
from colocam.runtime.errors import UserError
from colocam.runtime.files import check_file
from colocam.runtime.messages import count_of, print_note, print_unreadable

_OF_MODELS = "report", "predictions", "coco", "save_maps", "smooth", "refine", "min_area"


def evaluate_maps(options: argparse.Namespace, world: int) -> None:
    """Evaluates stored maps; prints the tables and writes --json.

    Args:
        options: of evaluate.py.
        world: number of processes.

    Raises:
        UserError: an option belongs to checkpoints, or frames have no boxes or no maps.
    """
    _check(options, world)
    console, maps = make_console(), SeedMaps(options.maps)
    with console.status("opening the data"):
        folder = options.data or builtin_folder(options.clip_set, options.clip_seed)
        data = open_data(
            folder, options.splits, seed=options.seed or 0, cache=options.cache,
            order=options.file_order,
        )  # fmt: skip
    for note in data.notes:
        print_note(console, note)
    frames = [record for record in getattr(data, options.split) if record.boxes]
    if not frames:
        raise UserError(f"{folder}: no frame in split {options.split!r} has boxes")
    _check_complete(frames, maps, options.split)
    chosen = _choosing(data.val, maps, console)
    on_validation = score_maps(chosen, data.classes, maps, console) if chosen else None
    scores = score_maps(frames, data.classes, maps, console)
    summary = scores.summary(on_validation)
    columns = {CENTRE_BOX: summary["centre_box"], "stored maps": summary}
    console.print(as_table(corloc_cells(columns, CORLOC_TITLE)))
    console.print(as_table(protocol_cells(columns)))
    print_unreadable(console, scores.unreadable)
    if options.json is not None:
        write_summary(options.json, summary)


def _check(options: argparse.Namespace, world: int) -> None:
    for name in _OF_MODELS:
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')}: needs --ckpt; omit it, or --maps")
    if options.boxes != "largest":
        raise UserError(f"--boxes {options.boxes}: needs --ckpt; omit it, or --maps")
    if options.split not in ("test", "val"):
        raise UserError(f"--split {options.split}: needs --ckpt; with --maps give test or val")
    if world > 1:
        raise UserError("--maps: runs in one process; start it without torchrun")
    if not options.maps.is_dir():
        raise UserError(f"--maps {options.maps}: no such folder of maps")
    if options.json is not None:
        check_file(options.json)


def _check_complete(frames: Sequence[BoxedFrame], maps: SeedMaps, split: str) -> None:
    missing = missing_maps(frames, maps)
    if missing:
        first = maps.path(missing[0].frames, missing[0].index)
        raise UserError(
            f"--maps {maps.folder}: no map for {len(missing)} of {count_of(len(frames), 'frame')} "
            f"with boxes (first: {first}); colocam.seed_maps --split {split} writes them"
        )


def _choosing(val: Sequence[BoxedFrame], maps: SeedMaps, console: Console) -> list[BoxedFrame]:
    """Validation frames, which choose the threshold; none if one has no map."""
    boxed = [record for record in val if record.boxes]
    missing = missing_maps(boxed, maps)
    if missing or not boxed:
        why = "validation frames have no boxes"
        if missing:
            why = f"{len(missing)} of {count_of(len(boxed), 'validation frame')} without a map"
        print_note(console, f"no threshold from validation: {why}")
        return []
    return boxed

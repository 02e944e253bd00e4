"""Command `colocam-export`: a localizer as one file that runs without colocam."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from colocam.localization.export import Format, export
from colocam.runtime.console import make_console
from colocam.runtime.entry import CommandParser, exit_status, program_name
from colocam.runtime.errors import UserError
from colocam.runtime.files import check_file

_FORMATS: tuple[Format, ...] = get_args(Format)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    Args:
        argv: arguments without the program name; None: those of the process.
    """
    return exit_status(lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=program_name("python -m colocam.export"),
        usage="%(prog)s --ckpt FILE [--format pt2|onnx] [--out FILE]",
        description="Exports a localizer to one file, from 8-bit frames to score maps and classes.",
    )
    add = parser.add_argument
    add("--ckpt", type=Path, required=True, metavar="FILE", help="checkpoint of a localizer")
    add(
        "--format",
        choices=_FORMATS,
        help="pt2: for torch.export.load; onnx: for any ONNX runtime, needs the extra 'onnx' "
        "(default: by the suffix of --out, else pt2)",
    )
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="file to write (default: the checkpoint's name, in the current folder)",
    )
    add("--overwrite", action="store_true", help="replace an existing file")
    return parser


def _run(options: argparse.Namespace) -> None:
    kind, out = _target(options)
    check_file(out)
    if out.exists() and not options.overwrite:
        raise UserError(f"{out}: exists; give another --out, or --overwrite")
    console = make_console(soft_wrap=True)
    with console.status(f"exporting {options.ckpt.name}"):
        export(options.ckpt, out, kind)
    console.print(f"{out}: {out.stat().st_size / 1e6:.1f} MB", highlight=False)


def _target(options: argparse.Namespace) -> tuple[Format, Path]:
    """Format and file."""
    if options.out is None:
        kind: Format = options.format or "pt2"
        return kind, Path(f"{options.ckpt.stem}.{kind}")
    kinds = [kind for kind in _FORMATS if options.out.suffix == f".{kind}"]
    if not kinds:
        raise UserError(f"--out {options.out}: must end with .pt2 or .onnx")
    if options.format not in (None, *kinds):
        raise UserError(f"--out {options.out}: must end with .{options.format}, as --format says")
    return kinds[0], options.out

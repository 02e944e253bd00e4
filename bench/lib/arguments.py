"""Command-line arguments that several benchmark scripts share, and checks of their values."""

import argparse
from pathlib import Path

from colocam.models.encoders import KNOWN, is_known
from colocam.runtime.entry import CommandParser
from colocam.runtime.errors import UserError

SIDE = 224  # default side of frames and crops, pixels
AMP_MODES = ("auto", "off", "bf16", "fp16")


def make_parser(doc: str) -> CommandParser:
    """Creates a parser whose description is the first line of a script's docstring."""
    return CommandParser(description=doc.splitlines()[0])


def add_device(parser: argparse.ArgumentParser) -> None:
    """Adds --device."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)"
    )


def _encoder(name: str) -> str:
    if not is_known(name):
        raise argparse.ArgumentTypeError(f"unknown {name!r}; known: {KNOWN}")
    return name


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Adds --encoder."""
    parser.add_argument(
        "--encoder",
        type=_encoder,
        default="resnet50",
        metavar="NAME",
        help=f"{KNOWN} (default: resnet50)",
    )


def add_amp(parser: argparse.ArgumentParser) -> None:
    """Adds --amp."""
    parser.add_argument(
        "--amp",
        choices=AMP_MODES,
        default="auto",
        help="mixed precision; auto: bf16 where it is fast, else fp16 on a GPU",
    )


def add_video(parser: argparse.ArgumentParser) -> None:
    """Adds --video."""
    parser.add_argument(
        "--video",
        type=Path,
        metavar="PATH",
        help="a video file or a folder of frames (default: frames of the built-in clip set)",
    )


def add_data(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --data and --splits.

    Args:
        parser: to extend.
        default: data set without --data, for the help.
    """
    parser.add_argument("--data", type=Path, metavar="DIR", help=f"(default: {default})")
    parser.add_argument("--splits", type=Path, metavar="DIR", help="split files of --data")


def add_size(parser: argparse.ArgumentParser, of: str) -> None:
    """Adds --size.

    Args:
        parser: to extend.
        of: what has this size, for the help.
    """
    parser.add_argument(
        "--size", type=int, default=SIDE, help=f"side of the {of}, pixels (default: {SIDE})"
    )


def add_seconds(parser: argparse.ArgumentParser, default: float, of: str) -> None:
    """Adds --seconds.

    Args:
        parser: to extend.
        default: seconds.
        of: what takes that long, for the help.
    """
    parser.add_argument(
        "--seconds",
        type=float,
        default=default,
        help=f"time for {of}, which has at least 3 repeats (default: {default:g})",
    )


def add_json(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --json.

    Args:
        parser: to extend.
        default: name of the file in bench/results, for the help.
    """
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help=f"result file; a table is written beside it (default: bench/results/{default}.json)",
    )


def check_at_least(options: argparse.Namespace, **least: int) -> None:
    """Checks lower bounds.

    Args:
        options: parsed arguments; one that is None or a list is skipped or checked by its minimum.
        least: bounds by the attribute's name.

    Raises:
        UserError: an argument is below its bound.
    """
    for name, bound in least.items():
        value = getattr(options, name)
        if isinstance(value, list):
            value = min(value)
        if value is not None and value < bound:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be at least {bound}")


def check_seconds(options: argparse.Namespace) -> None:
    """Checks --seconds.

    Raises:
        UserError: not above 0.
    """
    if not options.seconds > 0:
        raise UserError(f"--seconds {options.seconds:g}: must be above 0")

"""Command line of train.py: options of `Config` in groups, those of the run folder, and help."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from colocam.runtime.entry import CommandParser, program_name
from colocam.runtime.errors import UserError
from colocam.training.config import (
    Config,
    check_config,
    choices,
    default_preset,
    read_options,
    value_type,
)
from colocam.training.run_files import CONFIG
from colocam.training.run_folder import Destination, latest_folder

GROUPS = {
    "data": "data",
    "model": "model",
    "stage 1": "stage 1: classifier",
    "stage 2": "stage 2: localizer",
    "both stages": "both stages",
    "loss terms": "loss terms of stage 2",
    "seeds": "seeds of stage 2",
    "runtime": "runtime",
}
"""Groups of options and their headings, in the order of the help; "options" comes first."""

_METAVARS = {Path: "PATH", int: "N", float: "X", str: "NAME"}


@dataclass(frozen=True)
class Command:
    """Parsed command line of train.py.

    Attributes:
        config: configuration of the run.
        destination: the run folder, and what happens to a run in it.
        changed: options of a resumed run that the command line overrides, name to (old, new).
    """

    config: Config
    destination: Destination
    changed: dict[str, tuple[object, object]]

    @property
    def resume(self) -> bool:
        """Whether to resume the run in the run folder."""
        return self.destination.resume


def parse_config(argv: Sequence[str] | None, cuda: bool) -> Config:
    """Configuration of a command line, see `parse_command`."""
    return parse_command(argv, cuda).config


def parse_command(argv: Sequence[str] | None, cuda: bool) -> Command:
    """Parses the command line of train.py.

    Options override those of --config FILE or, with --resume, those of the run in the run folder;
    these override the preset.

    Args:
        argv: arguments without the program name; None: those of the process.
        cuda: whether a GPU is available; determines the default preset.

    Raises:
        SystemExit: status 0, after --help.
        UserError: an invalid argument, value or configuration file.
    """
    parser = _parser()
    namespace, unknown = parser.parse_known_args(argv)
    given = vars(namespace)
    if "help" in given:
        print(_help(given, cuda), end="")
        raise SystemExit(0)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    file, resume = given.pop("config", None), given.pop("resume", False)
    overwrite = given.pop("overwrite", False)
    if resume and file is not None:
        raise UserError("--resume: uses the configuration of the run; omit --config")
    if resume and overwrite:
        raise UserError("--overwrite: deletes the run that --resume continues; omit one of them")
    if file is not None and "preset" in given:
        raise UserError("--preset: is set by the file of --config; omit one of them")
    config = _config(given, _stored(file), cuda)
    continued = resume or config.stage == "localizer"  # a run that there is
    if continued and "out" not in given:
        config = replace(config, out=latest_folder(config.out))
    changed = {}
    path = config.out / CONFIG
    if resume and path.is_file():
        stored = read_options(path)
        config = _config(given, stored | {"out": config.out}, cuda)
        changed = {
            name: (value, getattr(config, name))
            for name, value in stored.items()
            if name in given and value != getattr(config, name)
        }
    check_config(config)
    fixed = "out" in given or continued or overwrite
    return Command(
        config, Destination(config.out, config.stage, fixed, resume, overwrite, file), changed
    )


def _stored(file: Path | None) -> dict[str, Any]:
    """Options of --config without the run folder: a repeated run does not overwrite the first."""
    if file is None:
        return {}
    return {name: value for name, value in read_options(file).items() if name != "out"}


def _config(given: dict[str, Any], stored: dict[str, Any], cuda: bool) -> Config:
    """Configuration in which `given` overrides `stored`, and `stored` overrides the preset."""
    preset = given.get("preset", stored.get("preset"))
    if preset is None:
        preset = default_preset("data" in given, cuda)
    if given.get("preset") not in (None, stored.get("preset")):
        stored = {}  # stored options belong to another preset
    return Config.of_preset(preset, {**stored, **given})


def _parser(shown: Config | None = None, everything: bool = True) -> CommandParser:
    """Parser of the command line, or of the help only.

    Args:
        shown: defaults that the help lists; None: options that are not given are absent from the
            namespace.
        everything: whether the help lists all options or the main ones.
    """
    parser = CommandParser(
        prog=program_name("train.py"),
        usage="%(prog)s [--preset NAME] [--data PATH] [--out PATH] [options]",
        argument_default=argparse.SUPPRESS,
        add_help=False,
    )
    parser.help_flag = "--help-all"
    for flags, constant, text in (
        (("-h", "--help"), "main", "list the main options"),
        (("--help-all",), "all", "list all options"),
    ):
        parser.add_argument(*flags, dest="help", action="store_const", const=constant, help=text)
    groups: dict[str, Any] = {"options": parser}
    groups |= {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for option in fields(Config):
        default = argparse.SUPPRESS if shown is None else getattr(shown, option.name)
        visible = everything or option.metadata["main"]
        groups[option.metadata["group"]].add_argument(
            "--" + option.name.replace("_", "-"),
            type=value_type(option),
            choices=choices(option),
            metavar=None if choices(option) else _METAVARS[value_type(option)],
            default=default,
            help=option.metadata["help"] if visible else argparse.SUPPRESS,
        )
        if option.name == "preset":
            _add_run_options(parser)
    return parser


def _add_run_options(parser: CommandParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="take all options from the config.json of another run",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in the folder --out"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="delete the run in the folder --out, and start anew",
    )


def _help(given: dict[str, Any], cuda: bool) -> str:
    """Help text with the defaults of the preset that the command line selects."""
    everything = given["help"] == "all"
    file = given.get("config")
    selection = {name: value for name, value in given.items() if name in ("preset", "data")}
    config = _config(selection, _stored(file), cuda)
    if file is not None and "preset" not in given:
        source = f"those of {file}"
    elif "preset" in given:
        source = f"those of preset {config.preset}"
    else:
        data, gpu = ("with" if there else "without" for there in ("data" in given, cuda))
        source = f"those of preset {config.preset} (chosen: {data} --data, {gpu} a GPU)"
    parser = _parser(config, everything)
    parser.description = (
        "Trains a video object localizer from class tags and evaluates it.\n"
        f"The defaults below are {source}; --preset NAME --help shows those of another preset."
    )
    if not everything:
        parser.epilog = f"{parser.prog} --help-all lists all {len(fields(Config)) + 5} options."
    return parser.format_help()

"""Entry of every command: arguments, help, errors and exit status."""

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import torch

from colocam.runtime.console import flush_output, prepare_output, print_error
from colocam.runtime.errors import UserError

_WIDTHS = 40, 100  # columns of a help text, least and most
_LONGEST_METAVAR = 13  # characters: "auto|cpu|cuda" is shown as metavar, longer choices as text


class HelpFormatter(argparse.HelpFormatter):
    """Help text for 40 to 100 columns, with choices and default after each option's text."""

    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size().columns
        width = min(max(columns, _WIDTHS[0]), _WIDTHS[1]) - 1
        super().__init__(prog, max_help_position=26 if width >= 60 else 6, width=width)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        details = []
        if action.choices and action.option_strings and not _shown_in(text, action):
            details.append(f"one of {', '.join(map(str, action.choices))}")
        has_default = action.default not in (None, argparse.SUPPRESS) and action.nargs != 0
        if has_default and "(default:" not in text:
            details.append(f"default: {_plain(action.default)}")
        # argparse formats the text with %
        return text + (f" ({'; '.join(details).replace('%', '%%')})" if details else "")

    def _metavar_formatter(
        self, action: argparse.Action, default_metavar: str
    ) -> Callable[[int], tuple[str, ...]]:
        if action.metavar is None and action.choices is not None and action.option_strings:
            listed = "|".join(map(str, action.choices))
            metavar = listed if len(listed) <= _LONGEST_METAVAR else "NAME"
            return lambda size: (metavar,) * size
        return super()._metavar_formatter(action, default_metavar)

    def _format_usage(self, usage: str | None, *args: Any, **kwargs: Any) -> str:
        text = super()._format_usage(usage, *args, **kwargs)
        if usage is None:
            return text
        joined = re.sub(r"\[[^]]*\]", lambda part: part[0].replace(" ", "\0"), text)
        lines = textwrap.fill(joined, self._width, subsequent_indent="  ")
        return lines.replace("\0", " ") + "\n\n"

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Wraps each line of the text by itself."""
        wrapper = textwrap.TextWrapper(
            width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
        return "\n".join(map(wrapper.fill, text.splitlines()))


def _shown_in(text: str, action: argparse.Action) -> bool:
    """Whether the metavar or the help text lists all choices of an option."""
    choices = [str(choice) for choice in action.choices or ()]
    if action.metavar is None and len("|".join(choices)) <= _LONGEST_METAVAR:
        return True
    words = set(text.replace(",", " ").replace(":", " ").split())
    return words.issuperset(choices)


def _plain(value: object) -> str:
    """A default value as a user would write it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return " ".join(map(_plain, value))
    return str(value)


class CommandParser(argparse.ArgumentParser):
    """Argument parser with one-line errors and help in the style of `HelpFormatter`."""

    help_flag = "--help"  # lists every option

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter} | kwargs)
        if self.add_help:  # here --help lists all options; train.py has a shorter --help
            self.add_argument("--help-all", action="help", help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Raises a `UserError`, which ends the command with exit status 2."""
        raise UserError(f"{message} (see {self.help_flag})")


def program_name(script: str) -> str:
    """Name of the command in its help: the console script if it was started as one.

    Args:
        script: name if it was started as a file or module.
    """
    name = Path(sys.argv[0]).name
    return name if name.startswith("colocam-") else script


def exit_status(run: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status; 0 if it returns None.

    `UserError`, a full GPU memory and an `OSError` with a file name are printed to stderr in one
    line, with status 2. Ctrl-C has status 130. Other exceptions are raised.

    Args:
        run: the command.
    """
    prepare_output()
    try:
        return run() or 0
    except UserError as error:
        print_error(f"error: {error}")
        return 2
    except torch.OutOfMemoryError:
        print_error("error: out of GPU memory: use a smaller --batch-size")
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print_error(f"error: {error.filename}: {error.strerror}")
        return 2
    except KeyboardInterrupt:
        print_error("interrupted")
        return 130
    finally:
        flush_output()

"""Console output of the commands: a terminal, or a file or pipe without width and control codes.

Every line for the user is printed here: text is never markup, and a command whose output nobody
reads any more (`| head -1`) goes on without it.
"""

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import IO, Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
from rich.status import Status
from rich.text import Text

_ESCAPES = "colocam-escapes"  # error handler of the output's encoding
_NO_WIDTH = 10_000  # columns of a file: no line is wrapped
_NARROW = 60  # columns below which a progress bar is shown without the bar


class TextConsole(Console):
    """Console that prints strings as they are: paths and names may contain brackets and colons.

    Args:
        options: of `rich.console.Console`; markup and emoji codes are off.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """Shows a spinner beside a text, which is not markup."""
        return super().status(Text(status) if isinstance(status, str) else status, **options)

    def on_broken_pipe(self) -> None:
        """Goes on without output."""
        self.quiet = True
        _discard(sys.stderr if self.stderr else sys.stdout)


def make_console(*, quiet: bool = False, soft_wrap: bool = False, stderr: bool = False) -> Console:
    """Console on stdout; in a file or pipe every line is written unwrapped.

    Args:
        quiet: print nothing.
        soft_wrap: leave the wrapping of lines to the terminal.
        stderr: print to stderr, as stdout has results.
    """
    console = TextConsole(quiet=quiet, soft_wrap=soft_wrap, stderr=stderr)
    if console.is_terminal:
        return console
    return TextConsole(quiet=quiet, soft_wrap=soft_wrap, stderr=stderr, width=_NO_WIDTH)


def progress_bar(console: Console, *columns: ProgressColumn) -> Progress:
    """Progress bar that disappears when it ends; not shown in a file or pipe.

    Args:
        console: where it is shown.
        columns: shown after description, bar and count.
    """
    bar = () if console.width < _NARROW else (BarColumn(bar_width=24),)
    return Progress(
        text_column("{task.description}"), *bar, MofNCompleteColumn(separator="/"), *columns,
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


def status_line(console: Console) -> Progress:
    """Line with the description of its task, for work without a known end; see `progress_bar`."""
    return Progress(
        text_column("{task.description}"),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


def text_column(template: str) -> TextColumn:
    """Column of a progress bar that shows fields of its task, such as "{task.fields[rate]}"."""
    return TextColumn(template, markup=False)


def print_error(line: str) -> None:
    """Prints a line to stderr, unless that is a closed pipe."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _discard(sys.stderr)


def write_output(data: bytes) -> None:
    """Writes results to stdout, at once.

    Raises:
        BrokenPipeError: nobody reads stdout any more.
        OSError: they cannot be written.
    """
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError:
        _discard(sys.stdout)
        raise


def prepare_output() -> None:
    """Lets stdout and stderr print file names that are not text in their encoding.

    In a locale of another encoding than UTF-8, the bytes of a name are printed as they are: most
    terminals show them right. Everything else is escaped.
    """
    codecs.register_error(_ESCAPES, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPES)


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    part = error.object[error.start : error.end]
    if sys.getfilesystemencoding() != "utf-8":
        with suppress(UnicodeError):  # not only bytes of names
            return part.encode("ascii", "surrogateescape"), error.end
    return codecs.backslashreplace_errors(error)


def flush_output() -> None:
    """Writes what stdout still holds; to a closed pipe, nothing."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)


def _discard(stream: IO[str]) -> None:
    """Leads a stream to the null device: Python flushes it once more when the process ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)

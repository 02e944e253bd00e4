"""Console output of the commands: a terminal, or a file or pipe without width and control codes."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn

_NO_WIDTH = 10_000  # columns of a file: no line is wrapped
_NARROW = 60  # columns below which a progress bar is shown without the bar


def make_console(*, quiet: bool = False) -> Console:
    """Console on stdout; in a file or pipe every line is written unwrapped.

    Args:
        quiet: print nothing.
    """
    console = Console(quiet=quiet)
    return console if console.is_terminal else Console(quiet=quiet, width=_NO_WIDTH)


def progress_bar(console: Console, *columns: ProgressColumn) -> Progress:
    """Progress bar that disappears when it ends; not shown in a file or pipe.

    Args:
        console: where it is shown.
        columns: shown after description, bar and count.
    """
    bar = () if console.width < _NARROW else (BarColumn(bar_width=24),)
    return Progress(
        TextColumn("{task.description}"), *bar, MofNCompleteColumn(separator="/"), *columns,
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip

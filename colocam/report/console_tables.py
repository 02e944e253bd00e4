"""Tables for the terminal: bordered, plain or stacked, depending on its width."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

from colocam.report.tables import Cells

_BORDERED = 3, 1  # columns per cell and per table that borders and padding take
_PLAIN = 1, -1  # the same without borders: one column between cells


class ConsoleTable:
    """Table for the terminal in which no number and no word is cut.

    Args:
        cells: title, header, rows and note.
    """

    def __init__(self, cells: Cells) -> None:
        self.cells = cells

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells, width = self.cells, options.max_width
        if cells.title is not None:
            yield Text(cells.title, style="bold")
        for bordered, (per_cell, per_table) in ((True, _BORDERED), (False, _PLAIN)):
            free = width - per_cell * len(cells.rows[0]) - per_table
            widths = _column_widths(cells.rows, free)
            if widths is not None:
                yield _table(cells, widths, bordered)
                break
        else:
            yield from _stacked(cells, width)
        if cells.note:
            yield Text(cells.note, style="italic")


def as_table(cells: Cells) -> ConsoleTable:
    """Table for the terminal, at least 30 columns wide."""
    return ConsoleTable(cells)


def _column_widths(rows: Sequence[Sequence[str]], free: int) -> list[int] | None:
    """Widths of the columns at which lines break between words only; None: they do not fit.

    Args:
        rows: header first.
        free: columns for the text of all cells.
    """
    header, *body = rows
    broken = zip(map(_breakable, header), *body, strict=True)
    least = [_longest(word for text in column for word in text.split()) for column in broken]
    spare = free - sum(least)
    if spare < 0:
        return None
    widths = []
    for narrow, column in zip(least, zip(*rows, strict=True), strict=True):
        widths.append(min(max(narrow, _longest(column)), narrow + spare))
        spare -= widths[-1] - narrow
    return widths


def _breakable(heading: str) -> str:
    """A heading that can also break after a hyphen."""
    return heading.replace("-", "-\n")


def _longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _table(cells: Cells, widths: Sequence[int], bordered: bool) -> Table:
    table = Table(
        box=box.HEAVY_HEAD if bordered else box.SIMPLE_HEAD,
        show_edge=bordered,
        pad_edge=bordered,
        padding=(0, 1) if bordered else 0,
    )
    header, *rows = cells.rows
    for number, (name, width) in enumerate(zip(header, widths, strict=True)):
        text = name if cell_len(name) <= width else _breakable(name)
        justify: JustifyMethod = "left" if number == 0 else "right"
        table.add_column(Text(text), justify=justify, width=width)  # Text: no markup
    for number, row in enumerate(rows, 1):
        last = cells.sums_up and number == len(rows)
        if last and bordered:
            table.add_section()
        table.add_row(*map(Text, row), style="bold" if last else None)
    return table


def _stacked(cells: Cells, width: int) -> Iterator[Text]:
    """One line per value, below the first cell of its row."""
    (_, *names), *rows = cells.rows
    longest = _longest(names)
    aligned = longest + _longest(value for row in rows for value in row[1:]) + 3 <= width
    for first, *values in rows:
        yield Text(first, style="bold")
        for name, value in zip(names, values, strict=True):
            if value:
                line = f"  {name.ljust(longest if aligned else 0)} {value}"
                yield Text(textwrap.fill(line, width, subsequent_indent="    "))

"""Markdown: tables of rows, and pages of a heading, a table and notes."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence


def markdown_table(heads: Mapping[str, str], rows: Sequence[object]) -> list[str]:
    """Table of rows as lines of Markdown.

    Args:
        heads: column heads, by the attribute of a row that the column shows.
        rows: objects with these attributes: texts, numbers, or None for an empty cell.
    """
    return table_of_cells(
        list(heads.values()), ([cell(getattr(row, name)) for name in heads] for row in rows)
    )


def table_of_cells(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Table of formatted cells as lines of Markdown."""
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return lines + [f"| {' | '.join(map(str, cells))} |" for cells in rows]


def page(heading: str, table: Iterable[str], notes: Iterable[str]) -> list[str]:
    """Page of a result file: a heading, a table and a list of notes, as lines of Markdown."""
    return [heading, "", *table, "", *(f"- {note}" for note in notes)]


def cell(value: str | float | None) -> str:
    """Formats a number with three significant digits, no exponent; integers and texts as is."""
    if value is None or isinstance(value, str | int):
        return "" if value is None else str(value)
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 4
    return f"{value:.{digits}f}"


def mean_and_deviation(values: Sequence[float | None], digits: int = 1) -> str:
    """Formats mean ± sample standard deviation; of one value the mean alone.

    A dash where there are no values, or one of them is None or NaN.
    """
    numbers = [value for value in values if value is not None and not math.isnan(value)]
    if not numbers or len(numbers) < len(values):
        return "-"
    mean = f"{statistics.fmean(numbers):.{digits}f}"
    return mean if len(numbers) == 1 else f"{mean} ± {statistics.stdev(numbers):.{digits}f}"

"""Rows as a Markdown table."""

import math
import statistics
from collections.abc import Mapping, Sequence


def markdown_table(heads: Mapping[str, str], rows: Sequence[object]) -> list[str]:
    """A line each.

    Args:
        heads: what stands above a column, by the attribute of a row that stands in it.
        rows: with these attributes: texts, numbers, or None for an empty cell.
    """
    lines = [f"| {' | '.join(heads.values())} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [cell(getattr(row, name)) for name in heads]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def cell(value: str | float | None) -> str:
    """Three digits, no exponent; whole numbers as they are."""
    if value is None or isinstance(value, str | int):
        return "" if value is None else str(value)
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 4
    return f"{value:.{digits}f}"


def mean_and_deviation(values: Sequence[float | None], digits: int = 1) -> str:
    """Mean ± standard deviation (of a sample); the mean alone of one value.

    A dash where there are none, or one of them is None or NaN.
    """
    if not values or any(value is None or math.isnan(value) for value in values):
        return "-"
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"

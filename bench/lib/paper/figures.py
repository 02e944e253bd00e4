"""Figures of the papers: CorLoc over n or a weight, one line per method, with error bars."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from lib.paper.tables import Table


class Point(Protocol):
    """A point of a figure.

    Attributes:
        series: name of its line.
        x: n or weight.
        corloc: of each seed, %.
        published: on YouTube-Objects v1 and v2.2, %.
    """

    @property
    def series(self) -> str: ...

    @property
    def x(self) -> float: ...

    @property
    def corloc(self) -> list[float]: ...

    @property
    def published(self) -> tuple[float | None, float | None]: ...


COLORS = ("#2459d6", "#c2410c", "#0f766e")


def draw(path: Path, table: Table, points: Sequence[Point]) -> None:
    """Draws a figure.

    Args:
        path: of the PNG.
        table: title and label of the x axis.
        points: means with standard deviations; crosses: published on YouTube-Objects v1.
    """
    figure, axes = pyplot.subplots(figsize=(5, 3.4), layout="constrained")
    for color, name in zip(COLORS, dict.fromkeys(one.series for one in points), strict=False):
        own = [one for one in points if one.series == name]
        x = [one.x for one in own]
        means = [statistics.fmean(one.corloc) for one in own]
        spread = [statistics.stdev(one.corloc) if len(one.corloc) > 1 else 0.0 for one in own]
        axes.errorbar(x, means, spread, color=color, marker="o", ms=4, capsize=3, label=name)
        known = [(one.x, one.published[0]) for one in own if one.published[0] is not None]
        if known:
            axes.scatter(*zip(*known, strict=True), color=color, marker="x", zorder=3)
    axes.set(xlabel=table.x_label, ylabel="CorLoc, %", title=table.title)
    axes.title.set_fontsize(9)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)

"""Charts over the time of a video, drawn by `templates/time_charts.html.jinja`.

They stretch to the width of the page: x is 0…`COLUMNS`, y is 0…100 downwards, labels are placed in
%. However long the video, a chart has a few points per column at most.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from colocam.report.charts import Scale, ticks
from colocam.report.video.clock import clock
from colocam.report.video.frame_log import FrameNumbers, runs

COLUMNS = 800
MOST_SPANS = 200  # of a series that are drawn exactly; of more, the share of each block column
BLOCK_COLUMNS, LEVELS = 400, 4  # of these columns, and of the shares
ROW = 18  # height of a row of bars, pixels
LINE_HEIGHT = 150  # of a line chart, pixels
MOST_MARKS, SHORT = 40, 8  # vertical lines of a kind up to which they are full; height of more, %
_DOT = 0.5  # columns; width of the line of a single point
_UNITS = ((120, 1, "seconds"), (7200, 60, "minutes"), (math.inf, 3600, "hours"))

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Series:
    """A line of a chart: its name, its values (N,), NaN where there is none, and its kind."""

    name: str
    values: Values
    kind: str = "method"


@dataclass(frozen=True)
class Block:
    """Rectangle of a chart.

    Attributes:
        x: left side.
        width: in columns.
        y: top.
        height: in % of the chart.
        kind: selects the color, unless `color` is given.
        tooltip: may be empty.
        color: as CSS writes it.
        opacity: 0…1.
    """

    x: float
    width: float
    y: float
    height: float
    kind: str
    tooltip: str = ""
    color: str = ""
    opacity: float = 1


@dataclass(frozen=True)
class TimeChart:
    """A chart ready to be drawn.

    Attributes:
        title: shown above the chart.
        height: pixels.
        legend: (name, kind) of what is drawn; may be empty.
        x_labels: (text, % of the width).
        x_unit: of these.
        y_labels: (text, % of the height).
        grid: heights of the grid lines, %.
        blocks: rectangles, below the lines.
        lines: (kind, points) of each piece of a line; the kind of the range of its values in each
            column ends with " range".
        marks: (x, kind, height in %) of vertical lines from the top.
        named: whether the y labels are names, which need more space than numbers.
        columns: width of the canvas.
    """

    title: str
    height: int
    legend: Sequence[tuple[str, str]]
    x_labels: Sequence[tuple[str, float]]
    x_unit: str
    y_labels: Sequence[tuple[str, float]]
    grid: Sequence[float]
    blocks: Sequence[Block]
    lines: Sequence[tuple[str, str]]
    marks: Sequence[tuple[float, str, int]]
    named: bool = False
    columns: int = COLUMNS


class TimeCharts:
    """Makes the charts of one video.

    Args:
        numbers: of its frames.
    """

    def __init__(self, numbers: FrameNumbers) -> None:
        self.numbers = numbers
        self._scale = COLUMNS / float(numbers.ends[-1])
        self._x = numbers.seconds * self._scale
        self._widths = numbers.ends * self._scale - self._x
        self._column = np.minimum(self._x.astype(int), COLUMNS - 1)

    def lines(
        self, title: str, series: Sequence[Series], y_range: tuple[float, float] | None = None
    ) -> TimeChart:
        """Line chart with the stretches without a box, undecodable frames, jumps and cuts.

        Args:
            title: shown above the chart.
            series: a line is interrupted where it has no value.
            y_range: of the y axis; None: round values around those of the series.
        """
        finite = np.concatenate([one.values[np.isfinite(one.values)] for one in series])
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        y_ticks = ticks(*(y_range or (float(low), float(high))), count=4)
        bottom, top = y_range or (y_ticks[0], y_ticks[-1])
        up = Scale(bottom, top, 100, 0)
        y_ticks = [tick for tick in y_ticks if bottom <= tick <= top]
        shaded = {"empty": self.numbers.empty, "undecodable": ~self.numbers.decoded}
        marked = {"cut": self.numbers.cuts, "jump": self.numbers.jumps}
        names = [(one.name, one.kind) for one in series if len(series) > 1]
        texts = {"empty": "no box", "undecodable": "cannot be decoded"}
        present = [kind for kind, mask in (shaded | marked).items() if mask.any()]
        return TimeChart(
            title,
            LINE_HEIGHT,
            legend=[*names, *((texts.get(kind, kind), kind) for kind in present)],
            x_labels=self._x_labels()[0],
            x_unit=self._x_labels()[1],
            y_labels=[(f"{tick:.4g}", up(tick)) for tick in y_ticks],
            grid=[up(tick) for tick in y_ticks],
            blocks=[b for kind, mask in shaded.items() for b in self._blocks(mask, kind)],
            lines=[piece for one in series for piece in self._pieces(one, up)],
            marks=[mark for kind, mask in marked.items() for mark in self._marks(mask, kind)],
        )

    def rows(self, title: str, rows: Mapping[str, tuple[Mask, str]]) -> TimeChart:
        """One row of bars per name.

        Args:
            title: shown above the chart.
            rows: by name, the frames with a bar (N,), and its color, which may be empty.
        """
        share = 100 / len(rows)
        blocks, labels = [], []
        for place, (name, (mask, color)) in enumerate(rows.items()):
            y = round(place * share + 0.15 * share, 2)
            blocks += self._blocks(mask, "method", y, round(0.7 * share, 2), color, f"{name}: ")
            labels.append((name, round((place + 0.5) * share, 2)))
        return TimeChart(
            title,
            ROW * len(rows) + 6,
            legend=[("cut", "cut")] if self.numbers.cuts.any() else [],
            x_labels=self._x_labels()[0],
            x_unit=self._x_labels()[1],
            y_labels=labels,
            grid=[],
            blocks=blocks,
            lines=[],
            marks=self._marks(self.numbers.cuts, "cut"),
            named=True,
        )

    def _x_labels(self) -> tuple[list[tuple[str, float]], str]:
        """Ticks of the time axis and their unit."""
        end = float(self.numbers.ends[-1])
        per_unit, unit = next((by, name) for most, by, name in _UNITS if end <= most)
        numbers = [tick for tick in ticks(0, end / per_unit, count=8) if tick * per_unit <= end]
        return [(f"{tick:.4g}", round(100 * tick * per_unit / end, 2)) for tick in numbers], unit

    def _pieces(self, series: Series, up: Scale) -> Iterator[tuple[str, str]]:
        """Kind and points of each uninterrupted piece of a line."""
        x, values = self._x, series.values
        if len(values) <= 2 * COLUMNS:
            for places in runs(np.isfinite(values)):
                yield series.kind, _points(x[places], values[places], up)
            return
        columns = self._columns(values)
        for kind, parts in ((f"{series.kind} range", _extremes), (series.kind, _mean)):
            for piece in columns:
                joined = [parts(x[places], values[places]) for places in piece]
                across, along = np.concatenate(joined, axis=1)
                yield kind, _points(across, along, up)

    def _columns(self, values: Values) -> list[list[NDArray[np.int64]]]:
        """Places of the values of each column, by uninterrupted piece."""
        pieces: list[list[NDArray[np.int64]]] = [[]]
        starts = np.flatnonzero(np.diff(self._column, prepend=-1))
        for start, stop in itertools.pairwise([*starts.tolist(), len(values)]):
            finite = start + np.flatnonzero(np.isfinite(values[start:stop]))
            if finite.size:
                pieces[-1].append(finite)
            elif pieces[-1]:
                pieces.append([])
        return [piece for piece in pieces if piece]

    def _blocks(
        self,
        mask: Mask,
        kind: str,
        y: float = 0,
        height: float = 100,
        color: str = "",
        prefix: str = "",
    ) -> list[Block]:
        """Rectangles over the frames of a mask; if there are many, see `_shaded`."""
        exact = runs(mask)
        if len(exact) > MOST_SPANS:
            return self._shaded(mask, Block(0, 0, y, height, kind, "", color))
        blocks = []
        for span in exact:
            first, last = span[0], span[-1]
            width = float(self._x[last] + self._widths[last] - self._x[first])
            tooltip = f"{prefix}{clock(self.numbers.seconds[first])} to "
            tooltip += f"{clock(self.numbers.seconds[last])}, frames {first} to {last}"
            x = round(float(self._x[first]), 2)
            blocks.append(Block(x, round(width, 2), y, height, kind, tooltip, color))
        return blocks

    def _shaded(self, mask: Mask, block: Block) -> list[Block]:
        """Rectangles whose opacity is the share of the frames of a mask in each block column."""
        per_block = COLUMNS // BLOCK_COLUMNS
        column = self._column // per_block
        counts = np.bincount(column, minlength=BLOCK_COLUMNS)
        shares = np.bincount(column, weights=mask, minlength=BLOCK_COLUMNS) / np.maximum(counts, 1)
        levels = np.ceil(LEVELS * shares)
        return [
            replace(
                block,
                x=span.start * per_block,
                width=len(span) * per_block,
                opacity=level / LEVELS,
            )
            for level in range(1, LEVELS + 1)
            for span in runs(levels == level)
        ]

    def _marks(self, mask: Mask, kind: str) -> list[tuple[float, str, int]]:
        """Vertical lines at the frames of a mask, one per column at most."""
        _, firsts = np.unique(self._column[mask], return_index=True)
        height = 100 if len(firsts) <= MOST_MARKS else SHORT
        return [(round(float(x), 2), kind, height) for x in self._x[mask][firsts]]


def _points(across: Values, along: Values, up: Scale) -> str:
    points = [(x, up(y)) for x, y in zip(across.tolist(), along.tolist(), strict=True)]
    if len(points) == 1:
        points.append((points[0][0] + _DOT, points[0][1]))
    return " ".join(f"{x:.5g},{y:.4g}" for x, y in points)


def _extremes(across: Values, along: Values) -> Values:
    """(2, 1 or 2) x and y of the smallest and the largest value, in order of x."""
    ends = np.unique([along.argmin(), along.argmax()])
    return np.stack([across[ends], along[ends]])


def _mean(across: Values, along: Values) -> Values:
    """(2, 1) mean x and y."""
    return np.array([[across.mean()], [along.mean()]])

"""Line and bar charts: geometry in SVG pixels, drawn by `templates/charts.html.jinja`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 380, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 10, 34  # margins for the axes
BAR, BAR_GAP, NAME_WIDTH = 11, 12, 96
MOST_DOTS = 50  # points of a line up to which each is marked with a dot


@dataclass(frozen=True)
class Line:
    """Values of one line of a line chart.

    Attributes:
        name: shown in the legend.
        points: (x, y), x increasing; points that are not finite are skipped.
        kind: "method", "baseline" or "reference"; selects the color.
        mark: x that is marked on the line, or None.
    """

    name: str
    points: Sequence[tuple[float, float]]
    kind: str = "method"
    mark: float | None = None

    def finite(self) -> list[tuple[float, float]]:
        """The finite points."""
        return [(x, y) for x, y in self.points if math.isfinite(x) and math.isfinite(y)]


@dataclass(frozen=True)
class Bars:
    """Values of one series of a bar chart.

    Attributes:
        name: shown in the legend.
        values: one per group, 0…100; None draws no bar.
        kind: as in `Line`.
    """

    name: str
    values: Sequence[float | None]
    kind: str = "method"


@dataclass(frozen=True)
class GridLine:
    """Horizontal or vertical grid line from (x1, y1) to (x2, y2)."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Label:
    """Text at (x, y); `anchor` is its `text-anchor`, `kind` is "tick" or "name"."""

    text: str
    x: float
    y: float
    anchor: str
    kind: str = "tick"


@dataclass(frozen=True)
class Dot:
    """Circle around (x, y) with a tooltip."""

    x: float
    y: float
    tooltip: str
    radius: float = 2.2


@dataclass(frozen=True)
class Curve:
    """Polyline through `points` with dots on it."""

    kind: str
    points: Sequence[tuple[float, float]]
    dots: Sequence[Dot]


@dataclass(frozen=True)
class Bar:
    """Rectangle with the top left corner (x, y) and a tooltip."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    tooltip: str


@dataclass(frozen=True)
class Chart:
    """A chart ready to be drawn, in pixels of a `width` × `height` canvas.

    Attributes:
        title: shown above the chart.
        width: of the canvas.
        height: of the canvas.
        legend: (name, kind) of each series; empty for a single series.
        grid: grid lines.
        labels: ticks, names and values.
        curves: of a line chart.
        bars: of a bar chart.
    """

    title: str
    width: int
    height: int
    legend: Sequence[tuple[str, str]]
    grid: Sequence[GridLine]
    labels: Sequence[Label]
    curves: Sequence[Curve] = ()
    bars: Sequence[Bar] = ()


@dataclass(frozen=True)
class Scale:
    """Linear map from values low…high of an axis to pixels start…end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    whole_x: bool = False,
) -> Chart:
    """Line chart; it has a legend if it has more than one line.

    Args:
        title: shown above the chart.
        lines: lines without a finite point are skipped.
        x_label: shown below the x axis.
        x_range: of the x axis; None: the range of the points.
        y_range: of the y axis; None: round values around the points.
        whole_x: x ticks are integers, as for counts.
    """
    drawn = [line for line in lines if line.finite()]
    points = [point for line in drawn for point in line.finite()] or [(0.0, 0.0), (1.0, 1.0)]
    x_values, y_values = zip(*points, strict=True)
    x_span = _span(*(x_range or (min(x_values), max(x_values))))
    y_ticks = ticks(*(y_range or (min(y_values), max(y_values))))
    across = Scale(*x_span, LEFT, WIDTH - RIGHT)
    up = Scale(*(y_range or (y_ticks[0], y_ticks[-1])), HEIGHT - BOTTOM, TOP)
    x_ticks = [x for x in ticks(*x_span, whole=whole_x) if x_span[0] <= x <= x_span[1]]
    if whole_x:  # the first integer is a tick too
        x_ticks = sorted({*x_ticks, math.ceil(x_span[0])})
    y_ticks = [y for y in y_ticks if up.low <= y <= up.high]
    return Chart(
        title,
        WIDTH,
        HEIGHT,
        legend=[(line.name, line.kind) for line in drawn] if len(drawn) > 1 else (),
        grid=[GridLine(LEFT, up(y), WIDTH - RIGHT, up(y)) for y in y_ticks],
        labels=[
            *(_label(_number(y), LEFT - 6, up(y) + 4, "end") for y in y_ticks),
            *(_label(_number(x), across(x), HEIGHT - BOTTOM + 15, "middle") for x in x_ticks),
            _label(x_label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 3, "middle"),
        ],
        curves=[_curve(line, across, up) for line in drawn],
    )


def bar_chart(title: str, names: Sequence[str], series: Sequence[Bars]) -> Chart:
    """Horizontal bars in %, one group per name; a legend if there is more than one series.

    Args:
        title: shown above the chart.
        names: of the groups.
        series: values of each group.
    """
    group = len(series) * BAR + BAR_GAP
    height = len(names) * group + BOTTOM
    across = Scale(0, 100, NAME_WIDTH, WIDTH - 38)
    bottom = height - BOTTOM + 4
    x_ticks = (0, 25, 50, 75, 100)
    labels = [_label(f"{x}", across(x), bottom + 15, "middle") for x in x_ticks]
    bars = []
    for place, name in enumerate(names):
        top = place * group + BAR_GAP / 2
        middle = top + len(series) * BAR / 2 + 4
        labels.append(_label(_shortened(name), NAME_WIDTH - 8, middle, "end", "name"))
        for number, one in enumerate(series):
            value = one.values[place]
            if value is None:
                continue
            y = top + number * BAR
            width = round(across(value) - across(0), 2)
            tooltip = f"{name}, {one.name}: {value:.1f} %"
            bars.append(Bar(across(0), y, width, BAR - 2, one.kind, tooltip))
            labels.append(_label(f"{value:.1f}", across(value) + 4, y + BAR - 2.5, "start"))
    return Chart(
        title,
        WIDTH,
        height,
        legend=[(one.name, one.kind) for one in series] if len(series) > 1 else (),
        grid=[GridLine(across(x), 0, across(x), bottom) for x in x_ticks],
        labels=labels,
        bars=bars,
    )


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten) that cover a range."""
    low, high = _span(low, high)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * by for by in (1, 2, 5, 10) if power * by >= rough * 0.999)
    if whole:
        step = max(1.0, round(step))
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    return [number * step for number in range(first, last + 1)]


def _span(low: float, high: float) -> tuple[float, float]:
    """The range, widened if it is empty."""
    if high - low > 1e-9 * max(abs(low), abs(high), 1e-9):
        return low, high
    margin = abs(low) / 2 or 0.5
    return low - margin, high + margin


def _curve(line: Line, across: Scale, up: Scale) -> Curve:
    points = line.finite()
    dots = []
    if len(points) <= MOST_DOTS:
        dots = [Dot(across(x), up(y), f"{line.name}: {y:.4g}") for x, y in points]
    mark = line.mark
    if mark is not None:
        x, y = min(points, key=lambda point: abs(point[0] - mark))
        tooltip = f"{line.name}, chosen on validation: {mark:.3g}"
        dots.append(Dot(across(x), up(y), tooltip, radius=5))
    return Curve(line.kind, [(across(x), up(y)) for x, y in points], dots)


def _label(text: str, x: float, y: float, anchor: str, kind: str = "tick") -> Label:
    return Label(text, x, round(y, 2), anchor, kind)


def _number(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}"


def _shortened(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"

"""Line and bar charts as SVG, without a script: they read the colours of the page around them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from colocam.report.markup import element

WIDTH, HEIGHT = 380, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 10, 34  # room for the axes
BAR, BAR_GAP, NAME_WIDTH = 11, 12, 96


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: in the legend.
        points: (x, y), x rising; points that are not finite are left out.
        kind: "method" or "baseline": its colour.
        mark: an x to mark on the line; None: none.
    """

    name: str
    points: Sequence[tuple[float, float]]
    kind: str = "method"
    mark: float | None = None

    def finite(self) -> list[tuple[float, float]]:
        """The points that can be drawn."""
        return [(x, y) for x, y in self.points if math.isfinite(x) and math.isfinite(y)]


@dataclass(frozen=True)
class Scale:
    """From values of one axis to pixels."""

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
) -> Element:
    """A figure with a title, a legend where there is more than one line, and the chart.

    Args:
        title: above it.
        lines: to draw; those without a point are left out.
        x_label: below the axis.
        x_range: of the axis; None: what the points need.
        y_range: alike.
        whole_x: x counts something, and its ticks are whole numbers.
    """
    drawn = [line for line in lines if line.finite()]
    points = [point for line in drawn for point in line.finite()]
    x_values, y_values = zip(*points, strict=True) if points else ((0, 1), (0, 1))
    x_span = _span(*(x_range or (min(x_values), max(x_values))))
    y_ticks = ticks(*(y_range or (min(y_values), max(y_values))))
    across = Scale(*x_span, LEFT, WIDTH - RIGHT)
    up = Scale(*(y_range or (y_ticks[0], y_ticks[-1])), HEIGHT - BOTTOM, TOP)
    x_ticks = [x for x in ticks(*x_span, whole=whole_x) if x_span[0] <= x <= x_span[1]]
    if whole_x:  # where counting begins
        x_ticks = sorted({*x_ticks, math.ceil(x_span[0])})
    picture = element(
        "svg",
        _axes(across, up, x_ticks, y_ticks, x_label),
        [_line(line, across, up) for line in drawn],
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=title,
    )
    legend = _legend([(line.name, line.kind) for line in drawn]) if len(drawn) > 1 else None
    return element("figure", element("figcaption", title), legend, picture, class_="chart")


def bar_chart(
    title: str, names: Sequence[str], series: Sequence[tuple[str, str, Sequence[float | None]]]
) -> Element:
    """Horizontal bars in %, a group for each name.

    Args:
        title: above it.
        names: of the groups.
        series: (name, kind as in `Line`, a value in 0…100 for each group; None: no bar).
    """
    group = len(series) * BAR + BAR_GAP
    height = len(names) * group + BOTTOM
    across = Scale(0, 100, NAME_WIDTH, WIDTH - 38)
    parts = [_vertical(across(x), 0, height - BOTTOM + 4, f"{x}") for x in (0, 25, 50, 75, 100)]
    for place, name in enumerate(names):
        top = place * group + BAR_GAP / 2
        middle = top + len(series) * BAR / 2 + 4
        parts.append(_text(_shortened(name), NAME_WIDTH - 8, middle, "end", "name"))
        for number, (of, kind, values) in enumerate(series):
            if values[place] is None:
                continue
            parts.append(_bar(across, top + number * BAR, values[place], kind, f"{name}, {of}"))
    picture = element("svg", parts, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=title)
    legend = _legend([(of, kind) for of, kind, _ in series]) if len(series) > 1 else None
    return element("figure", element("figcaption", title), legend, picture, class_="chart")


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """About `count` round numbers (1, 2, 5 times a power of ten) that cover a range."""
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
    """A range that is not empty."""
    if high - low > 1e-9 * max(abs(low), abs(high), 1e-9):
        return low, high
    margin = abs(low) / 2 or 0.5
    return low - margin, high + margin


def _axes(
    across: Scale, up: Scale, x_ticks: Sequence[float], y_ticks: Sequence[float], label: str
) -> list[Element]:
    lines = []
    for y in y_ticks:
        if up.low <= y <= up.high:
            lines.append(
                element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up(y), y2=up(y), class_="grid")
            )
            lines.append(_text(_number(y), LEFT - 6, up(y) + 4, "end"))
    lines += [_text(_number(x), across(x), HEIGHT - BOTTOM + 15, "middle") for x in x_ticks]
    lines.append(_text(label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 3, "middle"))
    return lines


def _line(line: Line, across: Scale, up: Scale) -> list[Element]:
    points = line.finite()
    path = " ".join(f"{across(x)},{up(y)}" for x, y in points)
    parts = [element("polyline", points=path, class_=f"line {line.kind}")]
    if len(points) <= 50:
        parts += [
            _dot(across(x), up(y), line.kind, f"{line.name}: {y:.4g}", 2.2) for x, y in points
        ]
    if line.mark is not None:
        x, y = min(points, key=lambda point: abs(point[0] - line.mark))
        text = f"{line.name}, chosen on validation: {line.mark:.3g}"
        parts.append(_dot(across(x), up(y), line.kind, text, 5))
    return parts


def _dot(x: float, y: float, kind: str, text: str, radius: float) -> Element:
    return element("circle", element("title", text), cx=x, cy=y, r=radius, class_=f"dot {kind}")


def _bar(across: Scale, top: float, value: float, kind: str, name: str) -> list[Element]:
    return [
        element(
            "rect", element("title", f"{name}: {value:.1f} %"), x=across(0), y=top,
            width=round(across(value) - across(0), 2), height=BAR - 2, class_=f"bar {kind}",
        ),
        _text(f"{value:.1f}", across(value) + 4, top + BAR - 2.5, "start"),
    ]  # fmt: skip


def _vertical(x: float, top: float, bottom: float, text: str) -> list[Element]:
    return [
        element("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"),
        _text(text, x, bottom + 15, "middle"),
    ]


def _text(text: str, x: float, y: float, anchor: str, kind: str = "tick") -> Element:
    return element("text", text, x=x, y=round(y, 2), text_anchor=anchor, class_=kind)


def _legend(entries: Sequence[tuple[str, str]]) -> Element:
    return element(
        "p",
        [element("span", element("i", class_=kind), name) for name, kind in entries],
        class_="legend",
    )


def _number(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}"


def _shortened(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"

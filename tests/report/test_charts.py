"""Charts: round ticks that cover the range, and points at the position of their values."""

import itertools
import math
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Bars,
    Line,
    bar_chart,
    line_chart,
    ticks,
)
from colocam.report.templating import environment

values = st.floats(-1e9, 1e9, allow_nan=False).map(lambda value: float(f"{value:.6g}"))


@settings(deadline=None, max_examples=200)
@given(values, values, st.booleans())
def test_ticks_are_few_round_even_and_cover_the_range(one, other, whole):
    low, high = min(one, other), max(one, other)
    found = ticks(low, high, whole=whole)
    assert 2 <= len(found) <= 12
    step = found[1] - found[0]
    slack = 1e-6 * max(abs(low), abs(high), step)
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    for a, b in itertools.pairwise(found):
        assert b - a == pytest.approx(step, rel=1e-6, abs=slack)
    digit = step / 10 ** math.floor(math.log10(step) + 1e-6)
    assert min(abs(digit - round_one) for round_one in (1, 2, 5, 10)) < 1e-3
    if whole:
        assert all(abs(value - round(value)) <= slack for value in found)


def drawn(chart):
    """The figure that the template writes, parsed."""
    return ElementTree.fromstring(
        environment().get_template("charts.html.jinja").module.chart(chart)
    )


def points_of(chart):
    (line,) = drawn(chart).iter("polyline")
    return [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]


def test_point_is_at_the_position_of_its_value():
    line = Line("S1", [(0, 0.0), (0.5, 50.0), (1, 100.0)])
    figure = line_chart("CorLoc", [line], "threshold", x_range=(0, 1), y_range=(0, 100))
    middle = ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2)
    assert points_of(figure) == [(LEFT, HEIGHT - BOTTOM), middle, (WIDTH - RIGHT, TOP)]


@settings(deadline=None, max_examples=50)
@given(st.lists(values, min_size=1, max_size=30))
def test_every_point_is_inside_the_axes(heights):
    line = Line("loss", list(enumerate(heights, 1)))
    for x, y in points_of(line_chart("loss", [line], "epoch", whole_x=True)):
        assert LEFT - 0.1 <= x <= WIDTH - RIGHT + 0.1
        assert TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1


@pytest.mark.parametrize("epochs", [1, 2, 14])
def test_epoch_ticks_are_integers_from_the_first_epoch(epochs):
    line = Line("loss", [(epoch, 1.0 / epoch) for epoch in range(1, epochs + 1)])
    figure = line_chart("loss", [line], "epoch", x_range=(1, epochs), whole_x=True)
    texts = [text for text in drawn(figure).iter("text") if text.get("text-anchor") == "middle"]
    found = [float(text.text) for text in texts if text.text != "epoch"]
    assert found[0] == 1
    assert all(value == int(value) for value in found)


def test_points_that_are_not_finite_are_skipped():
    line = Line("loss", [(1, 1.0), (2, math.nan), (3, math.inf), (4, 3.0)])
    assert len(points_of(line_chart("loss", [line], "epoch"))) == 2
    empty = line_chart("loss", [Line("loss", [(1, math.nan)])], "epoch")
    assert not list(drawn(empty).iter("polyline"))


def test_mark_is_on_the_line():
    line = Line("S1", [(0, 1.0), (0.3, 7.0), (1, 2.0)], mark=0.31)
    figure = line_chart("CorLoc", [line], "threshold", x_range=(0, 1), y_range=(0, 10))
    *_, mark = drawn(figure).iter("circle")
    assert (float(mark.get("cx")), float(mark.get("cy"))) == points_of(figure)[1]
    assert "0.31" in mark.find("title").text


def test_bar_length_is_proportional_to_its_value_and_none_has_no_bar():
    series = [Bars("seed CAM", [25.0, None], "baseline"), Bars("S1", [50.0, 100.0])]
    bars = list(drawn(bar_chart("CorLoc", ["cat", "dog"], series)).iter("rect"))
    lengths = [float(bar.get("width")) for bar in bars]
    assert lengths == [pytest.approx(lengths[2] * share, abs=0.02) for share in (0.25, 0.5, 1)]
    assert [bar.find("title").text for bar in bars] == [
        "cat, seed CAM: 25.0 %",
        "cat, S1: 50.0 %",
        "dog, S1: 100.0 %",
    ]

"""bench/lib/crf/table.py: ratios, published times, notes and the figure of the rows."""

import dataclasses

import pytest

from lib.crf import table


def test_published_time_is_given_for_its_case_only():
    assert table.published_ms("joint", 64, 224) == 80
    for case in (("spatial", 64, 224), ("joint", 32, 224), ("joint", 64, 112)):
        assert table.published_ms(*case) is None


def test_ratios_are_of_64_to_16_frames(make_crf_row):
    rows = [make_crf_row(n, "grid", 2.0 * n, n**2) for n in (8, 16, 32, 64)]
    rows += [make_crf_row(64, "keops", 1.0)]
    rows += [make_crf_row(n, "pydensecrf2", float(n)) for n in (16, 64)]
    assert table.ratios(rows) == {
        "joint grid": {"forward": 4, "forward_backward": 16, "graph": None},
        "joint pydensecrf2": {"forward": 4, "forward_backward": None, "graph": None},
    }


def test_figure_shows_the_time_of_the_graph_if_there_is_one(make_crf_row):
    rows = [make_crf_row(n, "grid", 1.0, 1.1) for n in (16, 64)]
    assert [row.shown_ms for row in rows] == [1.0, 1.0]
    rows = [dataclasses.replace(row, graph_ms=row.n / 200) for row in rows]
    assert [row.shown_ms for row in rows] == [0.08, 0.32]
    found = table.ratios(rows)
    assert found["joint grid"]["graph"] == pytest.approx(4)
    assert "as a graph 4.00" in table.ratio_lines(found)[0]
    assert any("CUDA graph" in note for note in table.notes(rows))


def test_disturbed_row_is_named_in_the_notes(make_crf_row):
    quiet, disturbed = (make_crf_row(n, "grid", 1.0) for n in (2, 4))
    disturbed = dataclasses.replace(disturbed, others_cpu_percent=50.0)
    notes = table.notes([quiet, disturbed])
    assert sum("Invalid rows: n = 4 joint grid:" in note for note in notes) == 1
    assert not any("n = 2" in note for note in notes)


@pytest.mark.skipif(not table.can_plot(), reason="matplotlib is not installed")
@pytest.mark.parametrize("log", [False, True])
def test_figure_is_a_png(log, make_crf_row):
    rows = [make_crf_row(n, "grid", 2.0 * n) for n in (1, 2)]
    assert table.draw_figure(rows, "CPU", log).startswith(b"\x89PNG")

"""Tables of a run, for the terminal and for Markdown."""

import io
import json

import pytest
from rich.console import Console

from colocam.report.console_tables import as_table
from colocam.report.report import write_summary
from colocam.report.tables import (
    all_cells,
    as_markdown,
    breakdown_cells,
    corloc_cells,
    protocol_cells,
)


@pytest.fixture
def seed_cam(summary_of):
    return summary_of([True, False, False], [False, False], [None])


@pytest.fixture
def method(summary_of):
    return summary_of([True, True, False], [True, True], [None])


def printed(cells, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(as_table(cells))
    return console.file.getvalue()


def columns_of(seed_cam, method, name="CoLo-CAM"):
    return {"seed CAM": seed_cam, name: method}


def test_markdown_has_one_row_per_class_and_the_mean(method, seed_cam):
    assert as_markdown(corloc_cells(columns_of(seed_cam, method), title="Run 1")) == (
        "**Run 1**\n\n"
        "| class | frames | seed CAM | CoLo-CAM |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| cat | 3 | 33.3 | 66.7 |\n"
        "| dog | 2 | 0.0 | 100.0 |\n"
        "| mean | 5 | 16.7 | 83.3 |\n"
    )


def test_the_terminals_table_says_the_same(method, seed_cam):
    cells = corloc_cells(columns_of(seed_cam, method, "TCAM"), title="Run 1")
    text = printed(cells)
    rows = [line.replace("│", " ").replace("┃", " ").split() for line in text.splitlines()]
    assert ["class", "frames", "seed", "CAM", "TCAM"] in rows
    assert len([row for row in rows if row and row[-1][-1].isdigit() and len(row) == 4]) == 3
    assert ["cat", "3", "33.3", "66.7"] in rows
    assert ["dog", "2", "0.0", "100.0"] in rows
    assert ["mean", "5", "16.7", "83.3"] in rows
    assert "Run 1" in text


def test_without_boxes_the_table_shows_the_classification_accuracy_only(summary_of):
    boxless = summary_of([None, None], [None])
    (cells,) = all_cells(columns_of(boxless, boxless))
    assert as_markdown(cells) == (
        "|  | frames | seed CAM | CoLo-CAM |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| classification accuracy in % | 3 | 66.7 | 66.7 |\n"
    )
    text = printed(cells)
    assert "classification accuracy in %" in text
    assert "66.7" in text
    assert "CorLoc" not in text


def test_table_of_a_classifier_has_one_column(seed_cam):
    tables = all_cells({"seed CAM": seed_cam})
    assert [len(cells.rows[0]) for cells in tables] == [3, 4, 4, 2, 3]
    for cells in tables:
        assert {len(row) for row in cells.rows} == {len(cells.rows[0])}
        assert cells.rows[0][-1] == "seed CAM"


def test_names_are_escaped(summary_of):
    odd = summary_of([True], names=("a|b [red]", "x", "y"))
    cells = corloc_cells(columns_of(odd, odd))
    assert "| a\\|b [red] | 1 |" in as_markdown(cells)
    assert "a|b [red]" in printed(cells)


def test_all_protocols_are_in_one_table(summary_of):
    seed_cam = summary_of([True, False, False], [False, False], honest=0.25)
    method = summary_of([True, True, False], [True, True], honest=0.5)
    text = as_markdown(protocol_cells(columns_of(seed_cam, method, "TCAM")))
    title, _, *rows, _, note = text.splitlines()
    assert "IoU 0.3, 0.5, 0.7" in title
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert cells[0] == ["protocol", "threshold", "IoU", "seed CAM", "TCAM"]
    assert cells[2:] == [
        *(["published", "per class, on these", at, "16.7", "83.3"] for at in ("0.3", "0.5", "0.7")),
        ["honest", "one, on validation", "0.5", "16.7", "83.3"],
        ["version 2 (all contours)", "per class, on these", "mean", "16.7", "83.3"],
        ["top-1 localization", "as published", "0.5", "16.7", "33.3"],
        ["top-5 localization", "as published", "0.5", "16.7", "83.3"],
        ["classification", "", "", "60.0", "60.0"],
    ]
    assert note == "Thresholds chosen on validation: 0.250 (seed CAM), 0.500 (TCAM)."


def test_the_terminals_protocols_fit_its_usual_width_and_say_the_same(method, seed_cam):
    text = printed(protocol_cells(columns_of(seed_cam, method)), width=80)
    assert "version 2 (all contours)" in text
    rows = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["published", "per", "class,", "on", "these", "0.7", "16.7", "83.3"] in rows
    assert ["honest", "one,", "on", "validation", "0.5", "-", "-"] in rows
    assert "No threshold was chosen on validation" in text


def test_breakdown_has_sizes_thresholds_and_the_videos_with_the_lowest_corloc(summary_of):
    many = [False] * 3 + [True] * 12
    columns = columns_of(summary_of([False] * 15), summary_of(many), "TCAM")
    text = "\n".join(map(as_markdown, breakdown_cells(columns)))
    for line in (
        "| small | 6.2 to 16.0 % | 15 | 0.0 | 80.0 |",  # two areas, and most have the larger
        "| medium | - | 0 | - | - |",
        "| 0.9 | 0.0 | 80.0 |",
        "| cat/2 | 1 | 0.0 | 0.0 |",
    ):
        assert line in text.splitlines()
    assert "(10 of 15)" in text
    assert text.count("| cat/") == 10


def test_summary_file_is_complete_with_one_line_per_list(tmp_path, method):
    summary = {
        **method,
        "a[\n 1,\n 2]": [1.5, None],
        "baseline": {"by_size": {"area": [0.1, 1e-5]}},
    }
    write_summary(tmp_path / "n.json", summary)
    text = (tmp_path / "n.json").read_text()
    assert json.loads(text) == summary
    assert text.count("\n") < 90
    assert any(line.count(",") > 99 for line in text.splitlines())  # a curve on a line

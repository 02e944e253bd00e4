"""The table of a run, for the terminal and for Markdown."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from colocam.evaluation.corloc import CorLoc
from colocam.evaluation.report import write_summary
from colocam.evaluation.tables import (
    breakdown_markdown,
    corloc_markdown,
    corloc_table,
    protocol_markdown,
    protocol_table,
)

BOX, FOUND, FAR = (2, 2, 8, 8), (2, 2, 9, 9), (15, 15, 19, 19)


def summary_of(*right_by_class, names=("cat", "dog", "cow"), honest=None):
    """One frame an entry of each class's list, its box right or not (None: without boxes)."""
    scores = np.zeros((20, 20))
    scores[2:9, 2:9] = 1
    evaluation = CorLoc(names)
    for label, frames in enumerate(right_by_class):
        for right in frames:
            truth = [] if right is None else [FOUND if right else FAR]
            video = f"{names[label]}/{len(evaluation._frames)}"  # one a frame
            evaluation.add(scores, truth, label, [0, 1, 2], video)
    return evaluation.summary(honest)


@pytest.fixture
def seed_cam():
    return summary_of([True, False, False], [False, False], [None])


@pytest.fixture
def method():
    return summary_of([True, True, False], [True, True], [None])


def printed(table):
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    return console.file.getvalue()


def test_markdown_gives_a_row_a_class_and_the_mean(method, seed_cam):
    assert corloc_markdown(method, seed_cam, title="Run 1") == (
        "**Run 1**\n\n"
        "| class | frames | seed CAM | CoLo-CAM |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| cat | 3 | 33.3 | 66.7 |\n"
        "| dog | 2 | 0.0 | 100.0 |\n"
        "| mean | 5 | 16.7 | 83.3 |\n"
    )


def test_the_terminals_table_says_the_same(method, seed_cam):
    table = corloc_table(method, seed_cam, title="Run 1", method="TCAM")
    text = printed(table)
    assert [str(column.header) for column in table.columns] == [
        "class",
        "frames",
        "seed CAM",
        "TCAM",
    ]
    assert table.row_count == 3
    rows = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["cat", "3", "33.3", "66.7"] in rows
    assert ["dog", "2", "0.0", "100.0"] in rows
    assert ["mean", "5", "16.7", "83.3"] in rows
    assert "Run 1" in text


def test_without_boxes_only_the_classification_accuracy_is_shown():
    boxless = summary_of([None, None], [None])
    assert corloc_markdown(boxless, boxless) == (
        "|  | frames | seed CAM | CoLo-CAM |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| classification accuracy in % | 3 | 66.7 | 66.7 |\n"
    )
    text = printed(corloc_table(boxless, boxless))
    assert "classification accuracy in %" in text
    assert "66.7" in text
    assert "CorLoc" not in text


def test_names_cannot_break_the_table():
    odd = summary_of([True], names=("a|b [red]", "x", "y"))
    assert "| a\\|b [red] | 1 |" in corloc_markdown(odd, odd)
    assert "a|b [red]" in printed(corloc_table(odd, odd))


def test_every_protocol_stands_in_one_table_with_its_name():
    seed_cam = summary_of([True, False, False], [False, False], honest=0.25)
    method = summary_of([True, True, False], [True, True], honest=0.5)
    title, _, *rows, _, note = protocol_markdown(method, seed_cam, "TCAM").splitlines()
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
    console = Console(file=io.StringIO(), width=80)
    console.print(protocol_table(method, seed_cam))
    text = console.file.getvalue()
    assert "version 2 (all contours)" in text
    rows = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["published", "per", "class,", "on", "these", "0.7", "16.7", "83.3"] in rows
    assert ["honest", "one,", "on", "validation", "0.5", "-", "-"] in rows
    assert "No threshold was chosen on validation" in text


def test_the_breakdown_gives_sizes_thresholds_and_the_hardest_videos():
    many = [False] * 3 + [True] * 12
    text = breakdown_markdown(summary_of(many), summary_of([False] * 15), "TCAM")
    for line in (
        "| small | 6.2 to 16.0 % | 15 | 0.0 | 80.0 |",  # two areas, and most have the larger
        "| medium | - | 0 | - | - |",
        "| 0.9 | 0.0 | 80.0 |",
        "| cat/2 | 1 | 0.0 | 0.0 |",
    ):
        assert line in text.splitlines()
    assert "(10 of 15)" in text
    assert text.count("| cat/") == 10


def test_the_file_of_numbers_is_short_and_whole(tmp_path, method):
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

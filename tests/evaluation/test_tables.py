"""The table of a run, for the terminal and for Markdown."""

import io

import numpy as np
import pytest
from rich.console import Console

from colocam.evaluation.corloc import CorLoc
from colocam.evaluation.tables import corloc_markdown, corloc_table

BOX, FOUND, FAR = (2, 2, 8, 8), (2, 2, 9, 9), (15, 15, 19, 19)


def summary_of(*right_by_class, names=("cat", "dog", "cow")):
    """One frame an entry of each class's list, its box right or not (None: without boxes)."""
    scores = np.zeros((20, 20))
    scores[2:9, 2:9] = 1
    evaluation = CorLoc(names)
    for label, frames in enumerate(right_by_class):
        for right in frames:
            truth = [] if right is None else [FOUND if right else FAR]
            evaluation.add(scores, truth, label, [0, 1, 2])
    return evaluation.summary()


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

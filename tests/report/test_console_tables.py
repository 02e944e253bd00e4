"""Tables of a terminal: every number and word is complete at any width."""

import io

import pytest
from rich.console import Console

from colocam.report.console_tables import as_table
from colocam.report.tables import Cells

NAMES = ("seed CAM", "CoLo-CAM")
ROWS = [["aeroplane", "1234", "33.3", "100.0"], ["motorbike", "12", "0.0", "66.7"]]
CORLOC = Cells("CorLoc in %", [["class", "frames", *NAMES], *ROWS], "A note.", sums_up=True)
PROTOCOLS = Cells(
    None,
    [
        ["protocol", "threshold", "IoU", *NAMES],
        ["version 2 (all contours)", "per class, on these", "mean", "12.3", "100.0"],
        ["honest", "one, on validation", "0.5", "-", "8.3"],
        ["classification", "", "", "50.0", "45.6"],
    ],
)


def printed(cells, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(as_table(cells))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [30, 40, 80, 10_000])
@pytest.mark.parametrize("cells", [CORLOC, PROTOCOLS])
def test_words_and_numbers_are_complete_and_lines_fit(cells, width):
    text = printed(cells, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    words = text.replace("CoLo- ", "CoLo-CAM ").split()
    for row in cells.rows[1:]:
        for word in " ".join(row).split():
            assert word in words


def test_a_table_with_few_columns_is_a_table_at_30_columns():
    lines = printed(CORLOC, 30).splitlines()
    assert lines[0] == "CorLoc in %"
    assert [line.split() for line in lines[4:6]] == ROWS
    assert lines[6:] == ["A note."]


def test_a_table_is_stacked_if_its_words_do_not_fit():
    lines = printed(PROTOCOLS, 40).splitlines()
    assert lines[:5] == [
        "version 2 (all contours)",
        "  threshold per class, on these",
        "  IoU       mean",
        "  seed CAM  12.3",
        "  CoLo-CAM  100.0",
    ]
    assert lines[5].strip() == "honest"
    assert lines[10:] == ["classification", "  seed CAM  50.0", "  CoLo-CAM  45.6"]


def test_cells_are_not_read_as_markup():
    cells = Cells("[bold]", [["name", "[red]n"], ["[/x]", "1"]], "[note]")
    for width in (10, 80):
        text = printed(cells, width)
        assert all(part in text for part in ("[bold]", "[red]n", "[/x]", "[note]"))

"""Wording of the lines shown to the user when a data set is opened."""

from collections.abc import Sequence

from rich.console import Console


def count_of(number: int, thing: str) -> str:
    """A number with its noun: "1 frame", "2 frames", "3 boxes"."""
    if number == 1:
        return f"1 {thing}"
    return f"{number} {thing}es" if thing.endswith("x") else f"{number} {thing}s"


def left_out(missing: list[str], total: int, thing: str, why: str) -> str:
    """A line about what was left out: how many of how many, why, and the first of them."""
    verb = "is" if len(missing) == 1 else "are"
    return (
        f"{len(missing)} of {count_of(total, thing)} {verb} {why} and left out "
        f"(first: {missing[0]})"
    )


def report_unreadable(console: Console, names: Sequence[str], shown: int = 5) -> None:
    """Warns of frames that were left out because they cannot be decoded, and counts them."""
    for name in names[:shown]:
        console.print(f"warning: {name}: cannot be decoded, left out", style="yellow", markup=False)
    if names:
        verb = "was" if len(names) == 1 else "were"
        console.print(f"{count_of(len(names), 'frame')} could not be decoded and {verb} left out")

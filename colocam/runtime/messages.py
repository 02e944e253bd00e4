"""User messages: counts with their noun, skipped items, unreadable frames."""

from collections.abc import Sequence

from rich.console import Console


def count_of(number: int, thing: str) -> str:
    """Returns a number with its noun: "1 frame", "2 frames", "3 boxes"."""
    if number == 1:
        return f"1 {thing}"
    return f"{number} {thing}es" if thing.endswith("x") else f"{number} {thing}s"


def skipped_line(skipped: Sequence[str], total: int, thing: str, why: str) -> str:
    """Returns a line on skipped items: how many of how many, why, and the first of them.

    Args:
        skipped: the items, at least one.
        total: number of items, the skipped ones included.
        thing: noun for one item, such as "video".
        why: reason, as a predicate such as "unusable".
    """
    verb = "is" if len(skipped) == 1 else "are"
    return (
        f"{len(skipped)} of {count_of(total, thing)} {verb} {why} and skipped (first: {skipped[0]})"
    )


def print_note(console: Console, note: str) -> None:
    """Prints a note in one line."""
    console.print(f"note: {note}", style="yellow", soft_wrap=True)


def print_unreadable(console: Console, names: Sequence[str], shown: int = 5) -> None:
    """Prints warnings for frames that were skipped because they cannot be decoded.

    Args:
        console: console to print to.
        names: names of the frames; nothing is printed if there are none.
        shown: number of frames that are named; all are counted.
    """
    for name in names[:shown]:
        console.print(f"warning: {name}: cannot be decoded, skipped", style="yellow")
    if names:
        verb = "was" if len(names) == 1 else "were"
        console.print(f"{count_of(len(names), 'frame')} could not be decoded and {verb} skipped")

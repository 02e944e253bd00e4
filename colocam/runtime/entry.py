"""How every command ends: 0 on success, 2 with one clear line on a user's mistake."""

import argparse
import io
import sys
from collections.abc import Callable
from typing import NoReturn

import torch

from colocam.runtime.errors import UserError


class CommandParser(argparse.ArgumentParser):
    """Whose complaints are one line, as every other complaint of a command."""

    def error(self, message: str) -> NoReturn:
        """Ends the command."""
        raise UserError(f"{message} (--help lists all options)")


def exit_status(run: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status, 0 where it gives none.

    Mistakes a user can mend go to stderr, and so does a file that the system refuses.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may be no text: show its bytes
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return run() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except torch.OutOfMemoryError:
        print("error: the GPU's memory is full: give a smaller --batch-size", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130

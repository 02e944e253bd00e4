"""Entry of every command: exit status 0 on success, 2 with one line for a user's mistake."""

import argparse
import io
import sys
from collections.abc import Callable
from typing import NoReturn

import torch

from colocam.runtime.errors import UserError


class CommandParser(argparse.ArgumentParser):
    """Argument parser that raises `UserError`, so that every error of a command is one line."""

    def error(self, message: str) -> NoReturn:
        """Raises `UserError` with the parser's message."""
        raise UserError(f"{message} (--help lists all options)")


def exit_status(run: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status; 0 if it returns None.

    `UserError`, a full GPU memory and an `OSError` with a file name are printed to stderr in one
    line, with status 2. Ctrl-C has status 130. Other exceptions are raised.

    Args:
        run: the command.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names that are not valid text
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

"""Log of a run: metrics.jsonl, and optionally TensorBoard's event files."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from colocam.runtime.errors import UserError
from colocam.runtime.files import write_atomic


class Metrics:
    """Metrics of a run as JSON lines, one per epoch.

    Lines are added in memory, and flushed to the file after the training state that holds them is
    on disk: the file never contains an epoch that a resumed run trains again.

    Args:
        path: of the file.
        writes: whether this process writes it.
        tensorboard: folder of TensorBoard's event files; None: none are written.

    Attributes:
        lines: all lines of the run so far.
        written: number of them that are in the file.

    Raises:
        UserError: `tensorboard` without the package.
    """

    def __init__(self, path: Path, writes: bool = True, tensorboard: Path | None = None) -> None:
        self.path, self.writes = path, writes
        self.lines: list[dict[str, Any]] = []
        self.written = 0
        self.board = _Board(tensorboard) if writes and tensorboard is not None else None

    def add(self, **values: object) -> None:
        """Adds a line, in memory."""
        self.lines.append(values)

    def flush(self) -> None:
        """Appends the lines added since the last flush to the file.

        Raises:
            UserError: the file cannot be written.
        """
        new = self.lines[self.written :]
        self.written = len(self.lines)
        if not self.writes or not new:
            return
        try:
            with self.path.open("a") as file:
                file.write("".join(json.dumps(line) + "\n" for line in new))
                file.flush()
                os.fsync(file.fileno())
            if self.board is not None:
                self.board.write(new)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error

    def restore(self, lines: list[dict[str, Any]]) -> None:
        """Replaces the lines, and makes the file hold exactly these.

        Args:
            lines: of a training state.

        Raises:
            UserError: the file cannot be written.
        """
        self.lines, self.written = list(lines), 0
        if not self.writes:
            return
        present = _text(self.path)
        expected = "".join(json.dumps(line) + "\n" for line in lines)
        if expected.startswith(present) and (not present or present.endswith("\n")):
            self.written = present.count("\n")
            self.flush()
        else:
            write_atomic(self.path, expected.encode())
            self.written = len(lines)

    def read(self, stage: str) -> list[dict[str, Any]]:
        """Reads the lines of one stage from the file; damaged lines are skipped."""
        return [line for line in read_lines(self.path) if line.get("stage") == stage]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads the lines of a log; damaged ones are skipped. None without a file."""
    lines = []
    for text in _text(path).split("\n")[:-1]:  # an incomplete last line is skipped
        with suppress(ValueError):
            lines.append(json.loads(text))
    return [line for line in lines if isinstance(line, dict)]


def _text(path: Path) -> str:
    """Contents of a file, "" without a file; bytes that are not text become U+FFFD."""
    return path.read_text(errors="replace") if path.is_file() else ""


class _Board:
    """TensorBoard event files: scalars <stage>/<name> over epochs, made at the first write."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "--tensorboard on: needs a package; pip install 'colocam[tensorboard]'"
            ) from error
        self._make_writer = SummaryWriter
        self.folder = folder
        self.writer: SummaryWriter | None = None

    def write(self, lines: list[dict[str, Any]]) -> None:
        if self.writer is None:
            self.writer = self._make_writer(str(self.folder))
        for line in lines:
            for name, value in line.items():
                if isinstance(value, int | float) and name != "epoch":
                    self.writer.add_scalar(f"{line['stage']}/{name}", value, line["epoch"])
        self.writer.flush()

"""The log of a run: metrics.jsonl, and TensorBoard's files where they are asked for."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from colocam.runtime.errors import UserError
from colocam.runtime.files import write_whole


class Metrics:
    """One JSON object a line, an epoch a line.

    Lines are added in memory, and written once the training state that holds them too is on disk:
    the file never tells of an epoch that a resumed run would train again.

    Args:
        path: of the file.
        writes: whether this process writes it.
        tensorboard: folder of TensorBoard's files; None: none are written.

    Attributes:
        lines: all of the run so far.
    """

    def __init__(self, path: Path, writes: bool = True, tensorboard: Path | None = None) -> None:
        self.path, self.writes = path, writes
        self.lines: list[dict[str, Any]] = []
        self.written = 0
        self.board = _Board(tensorboard) if writes and tensorboard is not None else None

    def add(self, **values: object) -> None:
        """Adds a line."""
        self.lines.append(values)

    def flush(self) -> None:
        """Appends the lines added since the last time to the file.

        Raises:
            UserError: it cannot be written.
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
        """Begins with these lines; the file gets those it lacks, and loses what is torn."""
        self.lines, self.written = list(lines), 0
        if not self.writes:
            return
        standing = self._text()
        wanted = [json.dumps(line) + "\n" for line in lines]
        if "".join(wanted).startswith(standing) and (not standing or standing.endswith("\n")):
            self.written = standing.count("\n")
            self.flush()
        else:
            write_whole(self.path, "".join(wanted).encode())
            self.written = len(lines)

    def read(self, stage: str) -> list[dict[str, Any]]:
        """The lines of one stage that stand in the file; torn and damaged ones are left out."""
        lines = []
        for text in self._text().split("\n")[:-1]:  # behind the last there is at most a torn one
            with suppress(ValueError):
                lines.append(json.loads(text))
        return [line for line in lines if isinstance(line, dict) and line.get("stage") == stage]

    def _text(self) -> str:
        """What stands in the file, if it is there; what is no text stays recognizable as wrong."""
        return self.path.read_text(errors="replace") if self.path.is_file() else ""


class _Board:
    """Metrics as TensorBoard shows them: <stage>/<name> over epochs."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "--tensorboard on: needs a package; pip install 'colocam[tensorboard]'"
            ) from error
        self.make, self.folder, self.writer = SummaryWriter, folder, None

    def write(self, lines: list[dict[str, Any]]) -> None:
        self.writer = self.writer or self.make(str(self.folder))
        for line in lines:
            for name, value in line.items():
                if isinstance(value, int | float) and name != "epoch":
                    self.writer.add_scalar(f"{line['stage']}/{name}", value, line["epoch"])
        self.writer.flush()

"""Run folder: which folder a run writes to, and its lock; nothing in it is deleted unasked."""

import errno
import itertools
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from colocam.runtime.console import make_console
from colocam.runtime.distribution import Ranks
from colocam.runtime.errors import UserError
from colocam.runtime.messages import print_note
from colocam.training.metrics import read_lines
from colocam.training.run_files import CONFIG, METRICS, foreign_file, results_of
from colocam.training.state import STAGES, state_files

LOCK = ".lock"

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of file systems without locks


@dataclass(frozen=True)
class Destination:
    """Where a run is to be written.

    Attributes:
        out: run folder.
        stage: "all", "classifier" or "localizer": the stages to train.
        fixed: whether it has to be this folder; otherwise it is the first free one of `out`,
            `out`-2, `out`-3, …
        resume: whether a run in it is continued.
        overwrite: whether a run in it is deleted.
        source: a configuration file that must not be overwritten; None: none.
    """

    out: Path
    stage: str = "all"
    fixed: bool = True
    resume: bool = False
    overwrite: bool = False
    source: Path | None = None


class _InUse(UserError):
    """Error for a folder that another run is writing to."""


@contextmanager
def claim_folder(destination: Destination, ranks: Ranks) -> Iterator[Path]:
    """Yields the run folder, which no other run can claim until the end of the block.

    A collective: rank 0 chooses and locks the folder. The lock is one of the operating system, in
    the file `.lock` of the folder: it ends with the process, however that ends. A folder that is
    made for it and stays empty is removed at the end of the block.

    Args:
        destination: where the run is to be written.
        ranks: processes of the run.

    Raises:
        UserError: the folder cannot be written, another run is writing to it, or it holds files
            that the run would delete.
    """
    console = make_console(quiet=not ranks.main)
    with ExitStack() as stack:
        claimed: Path | UserError | None = None
        if ranks.main:
            try:
                claimed = _claim(destination, stack, console)
            except UserError as error:
                claimed = error
        claimed = ranks.gather(claimed)[0]
        if isinstance(claimed, UserError):
            raise claimed
        assert claimed is not None  # rank 0 has a folder or an error
        yield claimed


def latest_folder(out: Path) -> Path:
    """Returns the last of `out`, `out`-2, `out`-3, … that holds the configuration of a run."""
    numbered = re.compile(re.escape(out.name) + r"-([2-9]|[1-9]\d+)")
    with suppress(OSError):
        found = {
            int(match[1]): path
            for path in out.parent.iterdir()
            if (match := numbered.fullmatch(path.name)) and (path / CONFIG).is_file()
        }
        if found:
            return found[max(found)]
    return out


def _claim(destination: Destination, stack: ExitStack, console: Console) -> Path:
    """Chooses the folder, and locks it until the stack is closed."""
    out = destination.out
    if destination.fixed:
        stack.enter_context(_locked(out, destination.resume, console))
        _check(destination)
        return out
    for number in itertools.count(1):
        folder = out if number == 1 else out.with_name(f"{out.name}-{number}")
        if not _is_free(folder, destination):
            continue
        with suppress(_InUse), ExitStack() as attempt:
            attempt.enter_context(_locked(folder, False, console))
            if _is_free(folder, destination):  # as before: another run may have ended meanwhile
                stack.push(attempt.pop_all())
                if folder != out:
                    line = f"{out}: holds another run; this one is written to {folder}"
                    console.print(line, soft_wrap=True)
                return folder
    raise AssertionError("unreachable: there is a free number")


def _is_free(folder: Path, destination: Destination) -> bool:
    """Returns whether a folder of the series can be used: it holds no run, and no foreign files."""
    if folder.exists() and not folder.is_dir():
        return False
    source = destination.source
    if source is not None and folder.resolve() == source.resolve().parent:
        return False
    return not results_of(folder, destination.stage) and not foreign_file(folder)


@contextmanager
def _locked(folder: Path, resume: bool, console: Console) -> Iterator[None]:
    """Holds the lock of a folder, which is made if necessary.

    Raises:
        _InUse: another process holds it.
        UserError: the folder cannot be written; not if `resume`: a finished run is read only.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise _InUse(
            f"--out {folder}: another run is writing to it; wait for its end, or give another --out"
        ) from None
    except (OSError, NotImplementedError) as error:
        if not isinstance(error, OSError) or error.errno in _NO_LOCKS:
            line = f"{folder}: its file system has no locks; start no second run in it"
            print_note(console, line)
        elif not resume:
            raise UserError(f"--out {folder}: cannot be written ({error.strerror})") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove open files
            if [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
        lock.release()
        with suppress(OSError):  # not empty
            for path in made:
                path.rmdir()


def _check(destination: Destination) -> None:
    """Checks that the run deletes no files that it is not to delete.

    Raises:
        UserError: the folder holds a run and is not to be overwritten; it holds files with the
            names of a run's, but no run; a run to resume has no training state any more.
    """
    out, stage = destination.out, destination.stage
    if destination.resume:
        _check_states(out, stage)
        return
    if (foreign := foreign_file(out)) is not None:
        raise UserError(f"{foreign}: is not that of a run; move it away, or give another --out")
    if not (results := results_of(out, stage)):
        return
    if not (out / CONFIG).is_file():
        raise UserError(
            f"--out {out}: holds {results[0].relative_to(out)}, but no {CONFIG} of a run; give "
            "another --out, or move its files away"
        )
    if not destination.overwrite:
        raise UserError(
            f"--out {out}: holds a run; continue it with --resume, give another --out, or delete "
            "it and start anew with --overwrite"
        )


def _check_states(out: Path, stage: str) -> None:
    """Checks that a run whose log has epochs of a stage has training states, too.

    The state of an epoch is written before its line of the log. Without states a new run would be
    started, which deletes the checkpoints.
    """
    stages = STAGES if stage == "all" else (stage,)
    if state_files(out / "checkpoints"):
        return
    if any(line.get("stage") in stages for line in read_lines(out / METRICS)):
        raise UserError(
            f"--resume: {out} holds results, but no training state (state-*.safetensors) to "
            "continue from; give another --out, or start anew with --overwrite instead"
        )


def resume_hint(out: Path) -> str:
    """Returns the options that continue the run in a folder."""
    return f"--resume --out {shlex.quote(str(out))}"

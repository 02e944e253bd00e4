"""The batch that a step of stage 2 is measured on, and how fast such batches come."""

import itertools
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from colocam.data.decoding.open import open_video
from colocam.data.loading.loader import DrawnBatch
from colocam.runtime.errors import UserError
from colocam.training.config import Config
from colocam.training.run import Run

BATCHES_A_WORKER = 4  # that the loader is timed over


@contextmanager
def data_folder(data: Path | None, video: Path | None) -> Iterator[Path | None]:
    """The data folder that was asked for; a video gets one of its own for the time.

    Raises:
        UserError: the video cannot be read.
    """
    if video is None:
        yield data
        return
    open_video(video, video.name)  # complains by the name that the user gave
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "video" / video.name
        link.parent.mkdir()
        # A suffix that data folders know; what the file holds is found out from itself.
        link = link if video.is_dir() else link.with_suffix(".mp4")
        link.symlink_to(video.absolute())
        yield Path(folder)


def enough_shots(run: Run) -> Run:
    """The run, its shots repeated as often as all the batches need; each draws its own frames."""
    config, train = run.config, run.data.train
    count = max(1, config.batch_size // config.frames) * (1 + _timed_batches(config))
    if len(train) < count:
        train = tuple(itertools.islice(itertools.cycle(train), count))
    return replace(run, data=replace(run.data, train=train))


def time_loader(run: Run) -> tuple[DrawnBatch, list[float]]:
    """The fullest of some batches, and the ms that each took to come after the one before it.

    Nothing else is done meanwhile: with processes that decode ahead this is their best rate. The
    first batch, which waits for them to start, has no time.

    Raises:
        UserError: no frame can be decoded.
    """
    config, arrivals, fullest = run.config, [], None
    loader = run.loader(config.frames, config.batch_size)
    for batch in itertools.islice(loader.drawn(0), 1 + _timed_batches(config)):
        arrivals.append(time.perf_counter())
        if not batch.whole.blank and (fullest is None or sum(batch.lengths) > sum(fullest.lengths)):
            fullest = batch
    if fullest is None:
        raise UserError(f"{config.data}: no frame to train on can be decoded")
    return fullest, [1e3 * (b - a) for a, b in itertools.pairwise(arrivals)]


def _timed_batches(config: Config) -> int:
    return BATCHES_A_WORKER * max(1, config.workers)

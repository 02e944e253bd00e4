"""Input of the training step benchmark: its batch, and the time per batch of the loader."""

import itertools
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from colocam.data.decoding.video_file import open_video
from colocam.data.loading.loader import DrawnBatch
from colocam.runtime.errors import UserError
from colocam.training.config import Config
from colocam.training.run import Run

BATCHES_PER_WORKER = 4  # timed batches of the loader


@contextmanager
def data_folder(data: Path | None, video: Path | None) -> Iterator[Path | None]:
    """Data folder of the arguments; for a video, a temporary folder with a link to it.

    Raises:
        UserError: the video cannot be read.
    """
    if video is None:
        yield data
        return
    open_video(video, video.name)  # raises with the name given by the user
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "video" / video.name
        link.parent.mkdir()
        # A suffix that data folders accept; decoding does not depend on it.
        link = link if video.is_dir() else link.with_suffix(".mp4")
        link.symlink_to(video.absolute())
        yield Path(folder)


def enough_shots(run: Run) -> Run:
    """Repeats the shots of a run until they fill all batches; each copy draws its own frames."""
    config, train = run.config, run.data.train
    count = max(1, config.batch_size // config.frames) * (1 + _timed_batches(config))
    if len(train) < count:
        train = tuple(itertools.islice(itertools.cycle(train), count))
    return replace(run, data=replace(run.data, train=train))


def time_loader(run: Run) -> tuple[DrawnBatch, list[float]]:
    """Loads batches.

    No other work runs at the same time, so that decoding processes reach their peak rate. The
    first batch includes their start and is not timed.

    Returns:
        the batch with the most frames, and the ms between consecutive batches.

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
    return BATCHES_PER_WORKER * max(1, config.workers)

"""Fixtures that every test folder shares."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    # Triton's kernels run in its interpreter then; it reads this when it is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

from colocam.data.layouts.builtin import write_clip_set
from colocam.data.layouts.builtin_settings import ClipSet

ROOT = Path(__file__).resolve().parents[1]
SHARED = (ROOT / "shared", ROOT.parent / "shared")  # after $COLOCAM_SHARED
TINY_CLIPS = ClipSet(
    width=72, height=54, videos=(2, 1, 1), shots=(1, 1), frames=(6, 8), long_frames=(8, 9), boxed=2
)
SHORT = [
    *("--preset", "smoke", "--device", "cpu", "--classifier-epochs", "1", "--epochs", "1"),
    *("--coloc-weight", "9", "--coloc-ramp", "0"),
]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and split files; skips the test where there is none."""
    named = os.environ.get("COLOCAM_SHARED")
    for folder in SHARED if named is None else (Path(named), *SHARED):
        if (folder / "clips").is_dir():
            return folder
    pytest.skip("no real clips in $COLOCAM_SHARED, shared/ or ../shared")


@pytest.fixture(scope="session")
def shared_splits(shared: Path) -> Path:
    """The folder of YouTube-Objects' split files; skips the test where there is none."""
    if not (shared / "splits").is_dir():
        pytest.skip(f"no split files in {shared}")
    return shared / "splits"


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where Triton's kernels run: a GPU, or their interpreter on the CPU."""
    interpreted = os.environ.get("TRITON_INTERPRET", "0") == "1"
    return torch.device("cuda" if torch.cuda.is_available() and not interpreted else "cpu")


@dataclass(frozen=True)
class TinyRun:
    """A finished run of train.py.

    Attributes:
        status: exit status.
        data: its data folder, a tiny built-in clip set.
        clip_set: what was written there.
        arguments: what it was called with, but for --data and --out.
        out: run folder.
    """

    status: int
    data: Path
    clip_set: ClipSet
    arguments: tuple[str, ...]
    out: Path

    def checkpoint(self, name: str) -> Path:
        """Path of one of its checkpoints."""
        return self.out / "checkpoints" / f"{name}.safetensors"


@pytest.fixture
def one_thread():
    """Sums in one order: runs can be compared to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> TinyRun:
    """Both stages trained for an epoch on a tiny clip set, once a session; not to be changed."""
    from colocam.cli.train import main

    folder = tmp_path_factory.mktemp("tiny")
    data = write_clip_set(folder / "clips", TINY_CLIPS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    status = main([*SHORT, "--data", str(data), "--out", str(folder / "run")])
    torch.set_num_threads(threads)
    return TinyRun(status, data, TINY_CLIPS, tuple(SHORT), folder / "run")


def _write_video(path: Path, num_frames: int = 10, size: tuple[int, int] = (64, 48)) -> Path:
    """A bright square that moves over noise: an mp4, or a folder of JPEGs without a suffix."""
    width, height = size
    rng = np.random.default_rng(len(path.name))
    ground = rng.integers(0, 90, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    if path.suffix:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, size)
        assert writer.isOpened()
    else:
        path.mkdir()
    for number in range(num_frames):
        frame = ground.copy()
        frame[8:24, 4 + 2 * number : 20 + 2 * number] = (60, 200, 240)
        if writer:
            writer.write(frame)
        else:
            cv2.imwrite(str(path / f"{number:04d}.jpg"), frame)
    if writer:
        writer.release()
    return path


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Writes a video of so many frames and (width, height): a file, or a folder of frames."""
    return _write_video

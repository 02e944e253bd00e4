"""Data of two tags, and its records."""

import pytest

from colocam.data.layouts.open import open_data
from colocam.localization.stored_maps import frames_of


@pytest.fixture
def data(tmp_path, write_video):
    """A folder of a video file of cats and a folder of frames of sports cars, 5 frames each."""
    write_video(tmp_path / "data" / "cat" / "a.mp4", 5)
    write_video(tmp_path / "data" / "sports_car" / "b", 5)
    return tmp_path / "data"


@pytest.fixture
def classes():
    return ("cat", "sports_car")


@pytest.fixture
def records(data):
    """Every frame of the data."""
    return list(frames_of(open_data(data).train))

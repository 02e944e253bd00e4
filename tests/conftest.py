"""Fixtures that every test folder shares."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and split files beside the checkout; skips where there is none."""
    if not SHARED.is_dir():
        pytest.skip("no folder ../shared with real clips here")
    return SHARED

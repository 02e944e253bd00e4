"""bench/kernel_estimate.py: counts of drawn frames, and the time that follows from them."""

import json

import pytest
import torch

import kernel_estimate
from kernel_estimate import BANDWIDTH, LAUNCH, Estimate, Pixels, grid_estimate


def test_a_kernel_takes_its_launch_its_bytes_and_its_sectors():
    one = Estimate("", 1)
    one.add("launch", 0)
    one.add("bytes", BANDWIDTH["H100"])
    one.add("sectors", 0, 100e9, 1e6)
    one.add("sectors beyond the cache", 0, BANDWIDTH["H100"] * 0.4 / 64, 1e9)
    seconds = [times["H100"] for _, _, times in one.kernels]
    assert seconds == pytest.approx([LAUNCH, 1.0, 1.0, 1.0])
    assert one.total("H100") == pytest.approx(sum(seconds))


def test_frames_of_one_colour_have_one_cell_and_few_simplices():
    images = torch.full((2, 3, 16, 16), 77, dtype=torch.uint8)
    title = grid_estimate("joint", images, 2).title
    assert ": 2 colours in 2 cells, at most 256 pixels of a colour" in title
    simplices, corners, vertices = Pixels.with_position(images).counts()
    assert 2 <= simplices < 20
    assert corners <= 6 * simplices
    assert corners < vertices <= 13 * corners


def test_the_page_has_a_table_and_a_floor_per_term(tmp_path):
    argv = ["--frames", "8", "--size", "32", "--results", str(tmp_path)]
    assert kernel_estimate.main(argv) == 0
    terms = json.loads((tmp_path / "kernel_estimate.json").read_text())["terms"]
    assert len(terms) == 4
    text = (tmp_path / "kernel_estimate.md").read_text()
    assert text.count("| floor: 19 bytes a pixel |") == 4
    assert "no GPU was used" in text
    for name in ("find_neighbors", "sum_levels", "scale_by_group"):
        assert name in text

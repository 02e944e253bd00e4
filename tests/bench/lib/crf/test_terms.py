"""bench/lib/crf/terms.py: the floor of the memory traffic."""

import torch

from lib.crf.terms import least_bytes, make_term


def test_floor_reads_colours_and_maps_once_and_writes_the_gradient_once():
    images = torch.zeros(3, 3, 8, 5, dtype=torch.uint8)
    term = make_term("spatial", images, torch.device("cpu"), torch.float32)
    arrays = (term.images, term.probs, term.gradient("dense"))
    assert least_bytes(term.pixels) == sum(a.numel() * a.element_size() for a in arrays)
    assert least_bytes(10, maps=4) == 10 * (3 + 16 + 16)

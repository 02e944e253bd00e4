"""Seeds: Otsu's threshold, regions of interest, both sampling schemes."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from colocam import seeds
from colocam.seeds import BACKGROUND, FOREGROUND, IGNORED

REGIONS = ["none", "all", "largest", "densest"]
SCHEMES = [("text", "largest"), *(("published", region) for region in REGIONS)]


def cam_like(count: int, side: int, seed: int = 0) -> torch.Tensor:
    """Smooth maps with one or several blobs, min-max normalized: (count, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, max(3, side // 8), max(3, side // 8), generator=generator) ** 3
    maps = F.interpolate(coarse, (side, side), mode="bilinear")[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def levels_of(cam) -> np.ndarray:
    return np.clip((np.asarray(cam) * np.float32(255)).astype(int), 0, 255).astype(np.uint8)


def maps_of_levels(levels: np.ndarray) -> torch.Tensor:
    """CAMs that quantize to these levels."""
    return (torch.from_numpy(levels.astype(np.float32)) + 0.5) / 255


def cv2_regions(mask: np.ndarray) -> np.ndarray:
    """Index of the first pixel of each pixel's region by OpenCV; −1 outside the mask."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    _, first = np.unique(labels.reshape(-1), return_index=True)
    return np.where(mask, first[labels - labels.min()], -1)


def expected_labels(masks: np.ndarray) -> np.ndarray:
    """Expected result of `connected_regions`, computed by OpenCV image by image."""
    pixels = masks[0].size
    return np.stack(
        [
            np.where(mask, cv2_regions(mask) + number * pixels, masks.size)
            for number, mask in enumerate(masks)
        ]
    )


# Otsu


def between_classes(levels: np.ndarray, threshold: int) -> Fraction:
    """Exact between-class variance of the pixels above a level and the others."""
    above, rest = levels[levels > threshold].tolist(), levels[levels <= threshold].tolist()
    if not above or not rest:
        return Fraction(0)
    difference = Fraction(sum(above), len(above)) - Fraction(sum(rest), len(rest))
    return difference**2 * len(above) * len(rest) / levels.size**2


@given(
    npst.arrays(np.uint8, (6, 6), elements=st.integers(0, 255) | st.sampled_from([0, 9, 10, 255]))
)
@settings(deadline=None, max_examples=40)
def test_otsu_is_the_first_level_of_largest_between_class_variance(levels):
    got = int(seeds.otsu_level(maps_of_levels(levels)[None]))
    if levels.min() == levels.max():
        assert got == 255
    else:  # between occurring levels the variance is constant: the first maximum occurs
        occurring = np.unique(levels).tolist()
        variances = [between_classes(levels, level) for level in occurring]
        assert got == occurring[variances.index(max(variances))]


@given(npst.arrays(np.uint8, (12, 12), elements=st.integers(0, 255)))
@settings(deadline=None, max_examples=100)
def test_otsu_matches_opencv_unless_two_levels_are_equally_good(levels):
    """OpenCV computes in floating point: it may choose another level of equal variance."""
    cams = maps_of_levels(levels)[None]
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    got = int(seeds.otsu_level(cams))
    if levels.min() == levels.max():
        assert not seeds.foreground_region(cams).any()
    elif not np.array_equal(seeds.foreground_region(cams)[0].numpy(), levels > threshold):
        ours, theirs = (between_classes(levels, t) for t in (got, int(threshold)))
        assert ours >= theirs
        assert float(theirs) == pytest.approx(float(ours), rel=1e-9)


@pytest.mark.parametrize("side", [28, 96, 224])
def test_the_foreground_of_cams_matches_opencv(side):
    cams = cam_like(8, side)
    region = seeds.foreground_region(cams).numpy()
    for cam, got in zip(cams, region, strict=True):
        levels = levels_of(cam)
        threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        np.testing.assert_array_equal(got, levels > threshold)
        assert 0 < got.mean() < 1


def test_levels_are_truncated_not_rounded():
    cams = torch.tensor([[[0.0, 0.999 / 255, 1.001 / 255, 254.999 / 255, 1.0]]])
    assert seeds.quantized(cams).tolist() == [[[0, 0, 1, 254, 255]]]


@pytest.mark.parametrize("value", [0.0, 0.3, 0.5, 1.0])
def test_a_constant_map_has_no_foreground_and_no_seeds(value):
    cams = cam_like(3, 16)
    cams[1] = value
    assert not seeds.foreground_region(cams)[1].any()
    for scheme, region in SCHEMES:
        drawn = seeds.sample_seeds(cams, scheme, 5, region=region)
        assert (drawn[1] == IGNORED).all()
        for i in (0, 2):
            assert set(drawn[i].unique().tolist()) == {BACKGROUND, FOREGROUND, IGNORED}


# Regions


def spiral(side: int) -> np.ndarray:
    """A path of one pixel width from the corner to the centre."""
    mask = np.zeros((side, side), bool)
    lengths = [side - 1] * 3 + [n for n in range(side - 3, 0, -2) for _ in (0, 1)]
    y = x = 0
    mask[0, 0] = True
    for turn, length in enumerate(lengths):
        dy, dx = ((0, 1), (1, 0), (0, -1), (-1, 0))[turn % 4]
        for _ in range(length):
            y, x = y + dy, x + dx
            mask[y, x] = True
    return mask


def snake(side: int) -> np.ndarray:
    """Rows joined at alternating ends."""
    mask = np.zeros((side, side), bool)
    mask[::2] = True
    mask[1 : side - 1 : 4, -1] = True
    mask[3 : side - 1 : 4, 0] = True
    return mask


def comb(side: int) -> np.ndarray:
    """Columns that are connected in the last row only."""
    mask = np.zeros((side, side), bool)
    mask[:, ::2] = True
    mask[-1] = True
    return mask


def maze(side: int, seed: int) -> np.ndarray:
    """A random spanning tree of corridors (depth first)."""
    rng, cells = np.random.default_rng(seed), (side + 1) // 2
    mask = np.zeros((2 * cells, 2 * cells), bool)
    path = [(int(rng.integers(cells)), int(rng.integers(cells)))]
    mask[2 * path[0][0], 2 * path[0][1]] = True
    while path:
        y, x = path[-1]
        steps = [(dy, dx) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
                 if 0 <= y + dy < cells and 0 <= x + dx < cells
                 and not mask[2 * (y + dy), 2 * (x + dx)]]  # fmt: skip
        if not steps:
            path.pop()
            continue
        dy, dx = steps[rng.integers(len(steps))]
        mask[2 * y + dy, 2 * x + dx] = mask[2 * (y + dy), 2 * (x + dx)] = True
        path.append((y + dy, x + dx))
    return mask[:side, :side]


def winding(side: int) -> np.ndarray:
    """Masks with long paths, each in four rotations: (N, side, side)."""
    drawn = [spiral(side), snake(side), comb(side), maze(side, 0), maze(side, 1)]
    return np.stack([np.rot90(mask, turn) for mask in drawn for turn in range(4)])


@given(npst.arrays(np.bool_, npst.array_shapes(min_dims=3, max_dims=3, max_side=12)))
@settings(deadline=None, max_examples=100)
def test_regions_match_opencv_and_are_labelled_by_their_first_pixel(masks):
    np.testing.assert_array_equal(
        seeds.connected_regions(torch.from_numpy(masks)), expected_labels(masks)
    )


@pytest.mark.parametrize("share", [0.3, 0.55, 0.6, 0.65, 0.9])
def test_regions_of_random_pixels_match_opencv(share):
    masks = np.random.default_rng(4).random((4, 60, 70)) < share
    np.testing.assert_array_equal(
        seeds.connected_regions(torch.from_numpy(masks)), expected_labels(masks)
    )


def test_regions_of_every_small_mask_match_opencv():
    bits = np.arange(2**12)[:, None] >> np.arange(12) & 1
    masks = bits.reshape(-1, 3, 4).astype(bool)
    np.testing.assert_array_equal(
        seeds.connected_regions(torch.from_numpy(masks)), expected_labels(masks)
    )


@pytest.mark.parametrize("side", [63, 64])
def test_winding_regions_match_opencv(side):
    masks = winding(side).copy()
    np.testing.assert_array_equal(
        seeds.connected_regions(torch.from_numpy(masks)), expected_labels(masks)
    )


@given(npst.arrays(np.bool_, npst.array_shapes(min_dims=3, max_dims=3, max_side=10)))
@settings(deadline=None, max_examples=100)
def test_the_largest_region_matches_opencv_and_is_the_first_of_equals(masks):
    got = seeds.largest_region(torch.from_numpy(masks)).numpy()
    for mask, region in zip(masks, got, strict=True):
        first = cv2_regions(mask)
        names, sizes = np.unique(first[mask], return_counts=True)
        expected = first == names[sizes.argmax()] if len(names) else np.zeros_like(mask)
        np.testing.assert_array_equal(region, expected)


@given(npst.arrays(np.bool_, npst.array_shapes(min_dims=3, max_dims=3, max_side=9)))
@settings(deadline=None, max_examples=60)
def test_bounding_boxes_match_opencv(masks):
    got = seeds.bounding_box(torch.from_numpy(masks)).numpy()
    for mask, box in zip(masks, got, strict=True):
        expected = np.zeros_like(mask)
        if mask.any():
            x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
            expected[y : y + height, x : x + width] = True
        np.testing.assert_array_equal(box, expected)


# Regions of interest


def filled(*rectangles, side=20) -> torch.Tensor:
    """(side, side) bool: rectangles (y, x, height, width)."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    for y, x, height, width in rectangles:
        mask[y : y + height, x : x + width] = True
    return mask


ANGLE = filled((1, 1, 10, 3), (9, 1, 2, 12))  # 48 of 400 pixels
SQUARE = filled((3, 10, 5, 5))  # 25 pixels: more than 5 % of the image
SPOT = filled((14, 15, 3, 3))  # 9 pixels: less


@pytest.fixture
def parts() -> torch.Tensor:
    """(1, 20, 20): three regions, the larger the weaker; a background of many weak levels."""
    cam = torch.linspace(0, 0.1, 400).view(20, 20)
    for part, value in ((ANGLE, 0.5), (SQUARE, 0.7), (SPOT, 0.9)):
        cam[part] = value
    return cam[None]


EXPECTED = {
    ("none", False): filled((0, 0, 20, 20)),
    ("none", True): filled((0, 0, 20, 20)),
    ("all", False): ANGLE | SQUARE | SPOT,
    ("all", True): filled((1, 1, 16, 17)),  # one box around all
    ("largest", False): ANGLE,
    ("largest", True): filled((1, 1, 10, 12)),
    ("densest", False): SQUARE,
    ("densest", True): SQUARE,
}


@pytest.mark.parametrize(("region", "box"), EXPECTED)
def test_regions_of_interest_match_their_definition(region, box, parts):
    above = seeds.foreground_region(parts)
    assert torch.equal(above[0], ANGLE | SQUARE | SPOT)
    assert torch.equal(
        seeds.region_of_interest(above, parts, region, box)[0], EXPECTED[region, box]
    )


@pytest.mark.parametrize(("region", "box"), EXPECTED)
def test_published_foreground_is_within_the_region_of_interest(region, box, parts, undilated):
    """`pixels` above its area: all of it is sampled, except pixels of CAM 0 or of both classes."""
    drawn = seeds.sample_seeds(
        parts, pixels=400, foreground_share=1.0, background_share=0.02, region=region, box=box
    )[0]
    weakest = parts[0] <= parts.flatten().sort().values[7]  # ⌈0.02 · 400⌉ pixels
    assert torch.equal(drawn == FOREGROUND, EXPECTED[region, box] & ~weakest & (parts[0] > 0))


@pytest.mark.parametrize("box", [False, True])
def test_the_strongest_share_refers_to_the_region_of_interest(box, parts, undilated):
    drawn = seeds.sample_seeds(parts, pixels=400, foreground_share=0.3, box=box)[0]
    if box:  # 36 of 120 pixels: the square's in the box first, then the angle's, which are equals
        assert torch.equal(drawn == FOREGROUND, EXPECTED["largest", True] & (ANGLE | SQUARE))
    else:
        assert torch.equal(drawn == FOREGROUND, ANGLE)


def test_without_a_large_enough_region_the_densest_is_the_largest(parts):
    above = SQUARE | SPOT
    densest = seeds.densest_region(above[None], parts, least_share=0.07)
    assert torch.equal(densest[0], SQUARE)
    small = filled((2, 2, 3, 3), (12, 12, 2, 4))
    cam = torch.where(filled((12, 12, 2, 4)), 0.9, 0.4)[None]
    assert torch.equal(seeds.densest_region(small[None], cam)[0], filled((2, 2, 3, 3)))


@pytest.mark.parametrize(("height", "width", "needed"), [(20, 20, 20), (10, 14, 7), (7, 9, 4)])
def test_a_region_of_exactly_five_percent_is_large_enough(height, width, needed):
    large = torch.zeros(1, height, width, dtype=torch.bool)
    large[:, :2] = True
    for size in (needed, needed - 1):
        dense = torch.zeros_like(large)
        dense[:, 4, :size] = True
        found = seeds.densest_region(large | dense, torch.where(dense, 0.9, 0.5))
        assert torch.equal(found, dense if size == needed else large)


def test_the_first_of_equally_dense_or_large_regions_is_selected():
    first, second, third = filled((2, 12, 4, 6)), filled((8, 1, 4, 6)), filled((14, 3, 6, 4))
    mask, cam = (first | second | third)[None], torch.full((1, 20, 20), 0.3)
    assert torch.equal(seeds.densest_region(mask, cam)[0], first)
    assert torch.equal(seeds.largest_region(mask)[0], first)
    cam[0][second | third] = 0.6
    assert torch.equal(seeds.densest_region(mask, cam)[0], second)


@given(
    npst.arrays(np.bool_, (3, 7, 8)),
    npst.arrays(np.uint8, (3, 7, 8), elements=st.integers(1, 64)),
    st.sampled_from([0.0, 0.05, 0.1, 0.3]),
)
@settings(deadline=None, max_examples=100)
def test_the_densest_region_matches_opencv_regions_and_exact_means(masks, levels, share):
    cams = torch.from_numpy(levels / np.float32(64))
    found = seeds.densest_region(torch.from_numpy(masks), cams, share).numpy()
    for mask, of_image, region in zip(masks, levels, found, strict=True):
        first = cv2_regions(mask)
        names, sizes = np.unique(first[mask], return_counts=True)
        means = [Fraction(int(of_image[first == name].sum()), int((first == name).sum()))
                 for name in names]  # fmt: skip
        large = [i for i, size in enumerate(sizes) if size >= share * mask.size]
        if large:
            expected = first == names[max(large, key=lambda i: (means[i], -i))]
        else:
            expected = first == names[sizes.argmax()] if len(names) else np.zeros_like(mask)
        np.testing.assert_array_equal(region, expected)


@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("region", REGIONS)
def test_regions_of_interest_do_not_depend_on_the_batch(region, box):
    cams = torch.cat([cam_like(5, 24), torch.zeros(1, 24, 24)])
    above = seeds.foreground_region(cams)
    together = seeds.region_of_interest(above, cams, region, box)
    for chosen in ([5, 4, 3, 2, 1, 0], [3], [4, 1], [2, 2, 5]):
        got = seeds.region_of_interest(above[chosen], cams[chosen], region, box)
        assert torch.equal(got, together[chosen])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("region", REGIONS)
def test_regions_of_interest_are_found_in_maps_of_any_precision(region, dtype, parts):
    above = seeds.foreground_region(parts)
    got = seeds.region_of_interest(above, parts.to(dtype), region)
    assert torch.equal(got[0], EXPECTED[region, True])


def test_an_unknown_region_of_interest_is_refused(parts):
    with pytest.raises(ValueError, match="region: unknown 'biggest'; known: none, all"):
        seeds.sample_seeds(parts, region="biggest")


# Strongest and weakest shares


def test_the_strongest_share_is_rounded_up_and_includes_ties():
    scores = torch.tensor([[[5.0, 4.0, 3.0, 3.0, 3.0, 1.0, 9.0]]])
    mask = torch.tensor([[[1, 1, 1, 1, 1, 1, 0]]]).bool()

    def strongest(share):
        return seeds.strongest_share(scores, mask, share)[0, 0].nonzero().flatten().tolist()

    assert strongest(0.01) == [0]
    assert strongest(0.17) == [0, 1]  # ⌈1.02⌉
    assert strongest(0.5) == strongest(0.8) == [0, 1, 2, 3, 4]
    assert strongest(0.9) == strongest(1.0) == [0, 1, 2, 3, 4, 5]


@given(
    npst.arrays(np.float32, (2, 5, 6), elements=st.floats(0, 1, width=16)),
    npst.arrays(np.bool_, (2, 5, 6)),
    st.sampled_from([0.1, 0.45, 0.7, 1.0]),
)
@settings(deadline=None, max_examples=60)
def test_the_strongest_share_matches_a_sorted_list(scores, masks, share):
    got = seeds.strongest_share(torch.from_numpy(scores), torch.from_numpy(masks), share).numpy()
    for values, mask, strongest in zip(scores, masks, got, strict=True):
        ranked = np.sort(values[mask])[::-1]
        count = int(np.ceil(np.float32(len(ranked)) * np.float32(share)))
        expected = mask & (values >= ranked[count - 1]) if len(ranked) else mask
        np.testing.assert_array_equal(strongest, expected)


@given(
    npst.arrays(np.float32, (2, 5, 6), elements=st.floats(0, 1, width=16)),
    st.sampled_from([0.01, 0.1, 0.45, 0.7, 1.0]),
)
@settings(deadline=None, max_examples=60)
def test_the_weakest_share_matches_a_sorted_list(scores, share):
    got = seeds.weakest_share(torch.from_numpy(scores), share).numpy()
    for values, weakest in zip(scores, got, strict=True):
        ranked = np.sort(values, axis=None)
        np.testing.assert_array_equal(weakest, values <= ranked[int(np.ceil(30 * share)) - 1])


# Sampling


def close_to(counts: np.ndarray, probabilities: np.ndarray, draws: int) -> None:
    """Frequencies within 4.5 standard deviations of their probabilities."""
    deviation = np.sqrt(draws * probabilities * (1 - probabilities))
    assert (np.abs(counts - draws * probabilities) <= 4.5 * deviation + 1e-9).all()


@pytest.fixture
def undilated(monkeypatch):
    """Seeds as sampled, before the dilation by a 3×3 square."""
    monkeypatch.setattr(seeds, "_dilated", lambda mask: mask)


@pytest.fixture
def cam() -> torch.Tensor:
    """(6, 7): a region above Otsu's threshold with a maximum, a background of many weak pixels."""
    cam = torch.linspace(0, 0.15, 42).view(6, 7)
    cam[1:4, 2:6] = torch.linspace(0.5, 0.9, 12).view(3, 4)
    cam[2, 3] = 1.0
    return cam


def test_text_samples_one_pixel_per_class(cam):
    drawn = seeds.sample_seeds(
        torch.stack([cam, cam.flip(0), torch.zeros(6, 7), cam.flip(1)]),
        "text",
        generator=torch.Generator().manual_seed(0),
    )
    assert drawn.dtype == torch.uint8
    for side in (FOREGROUND, BACKGROUND):
        assert (drawn == side).sum((1, 2)).tolist() == [1, 1, 0, 1]


def test_text_samples_foreground_by_the_cam_and_background_uniformly(cam):
    draws = 20_000
    drawn = seeds.sample_seeds(
        cam.expand(draws, -1, -1), "text", generator=torch.Generator().manual_seed(1)
    )
    region = np.zeros((6, 7), bool)
    region[1:4, 2:6] = True
    weights = np.where(region, cam.numpy(), 0).astype(float)
    close_to((drawn == FOREGROUND).sum(0).numpy(), weights / weights.sum(), draws)
    close_to((drawn == BACKGROUND).sum(0).numpy(), ~region / (~region).sum(), draws)


def published_candidates(cam: np.ndarray, weakest=0.1) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of the published scheme for one image, by OpenCV and sorting."""
    levels = levels_of(cam)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    mask = (levels > threshold).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    x, y, width, height, _ = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
    box = np.zeros(cam.shape, bool)
    box[y : y + height, x : x + width] = True
    inside = np.sort(cam[box])[::-1]
    whole = np.sort(cam.reshape(-1))
    strong = box & (cam >= inside[int(np.ceil(0.7 * len(inside))) - 1])
    weak = cam <= whole[int(np.ceil(weakest * len(whole))) - 1]
    return strong, weak


def grown(mask: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def test_published_samples_from_its_candidates_and_drops_conflicts():
    """With more samples than pixels every candidate is sampled, so that seeds are deterministic."""
    cams = cam_like(6, 48)
    few = seeds.sample_seeds(cams, pixels=30, generator=torch.Generator().manual_seed(0))
    every = seeds.sample_seeds(cams, pixels=10_000, background_share=0.8)
    for cam, drawn, all_drawn in zip(cams.numpy(), few.numpy(), every.numpy(), strict=True):
        strong, weak = published_candidates(cam, 0.8)
        assert (grown(strong) & grown(weak)).any()  # there are conflicts
        expected = np.full(cam.shape, IGNORED)
        expected[grown(strong) & ~grown(weak)] = FOREGROUND
        expected[grown(weak) & ~grown(strong)] = BACKGROUND
        np.testing.assert_array_equal(all_drawn, expected)
        strong, weak = published_candidates(cam)
        assert grown(strong)[drawn == FOREGROUND].all()
        assert grown(weak)[drawn == BACKGROUND].all()
        for side in (FOREGROUND, BACKGROUND):
            assert 9 <= (drawn == side).sum() <= 30 * 9


def test_published_samples_the_given_number_of_distinct_pixels(undilated):
    cams = cam_like(6, 48)
    drawn = seeds.sample_seeds(cams, pixels=40, generator=torch.Generator().manual_seed(0))
    for cam, one in zip(cams.numpy(), drawn.numpy(), strict=True):
        strong, weak = published_candidates(cam)
        assert not (strong & weak).any()
        assert (one == FOREGROUND).sum() == 40
        assert (one == BACKGROUND).sum() == 40
        assert strong[one == FOREGROUND].all()
        assert weak[one == BACKGROUND].all()


def test_one_published_pixel_is_dilated_to_a_square_within_the_frame():
    cams = cam_like(4, 32)
    drawn = seeds.sample_seeds(cams, pixels=1, generator=torch.Generator().manual_seed(3))
    for one in drawn.numpy():
        for side in (FOREGROUND, BACKGROUND):
            y, x = np.nonzero(one == side)
            assert len(y) == (np.ptp(y) + 1) * (np.ptp(x) + 1)
            assert np.ptp(y) in (1, 2)
            assert np.ptp(x) in (1, 2)
            assert np.ptp(y) == 2 or y.min() == 0 or y.max() == 31
            assert np.ptp(x) == 2 or x.min() == 0 or x.max() == 31


def test_published_samples_foreground_by_the_cam_and_background_uniformly(cam, undilated):
    draws = 20_000
    drawn = seeds.sample_seeds(
        cam.expand(draws, -1, -1), pixels=1, generator=torch.Generator().manual_seed(1)
    )
    strong, weak = published_candidates(cam.numpy())
    assert strong.sum() == 9
    assert weak.sum() == 5
    weights = np.where(strong, cam.numpy(), 0).astype(float)
    close_to((drawn == FOREGROUND).sum(0).numpy(), weights / weights.sum(), draws)
    close_to((drawn == BACKGROUND).sum(0).numpy(), weak / weak.sum(), draws)


def test_two_pixels_are_sampled_without_replacement():
    weights = torch.tensor([[[1.0, 0.5, 0.25, 0.75, 0.9]]])
    mask = torch.tensor([[[1, 1, 1, 1, 0]]]).bool()
    draws = 20_000
    noise = torch.rand(draws, 1, 5, generator=torch.Generator().manual_seed(0))
    drawn = seeds._drawn(mask.expand(draws, -1, -1), weights.expand(draws, -1, -1), 2, noise)
    assert (drawn.sum((1, 2)) == 2).all()
    w = np.array([1.0, 0.5, 0.25, 0.75])
    among = [
        w[i] / w.sum() + sum(w[j] / w.sum() * w[i] / (w.sum() - w[j]) for j in range(4) if j != i)
        for i in range(4)
    ]
    close_to(drawn.sum((0, 1)).numpy(), np.array([*among, 0.0]), draws)


@given(npst.arrays(np.bool_, (3, 4, 5)), st.integers(1, 25), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_the_given_number_of_pixels_is_sampled_or_all(masks, count, seed):
    mask = torch.from_numpy(masks)
    noise = torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed))
    drawn = seeds._drawn(mask, None, count, noise)
    assert not (drawn & ~mask).any()
    assert drawn.sum((1, 2)).tolist() == mask.sum((1, 2)).clamp(max=count).tolist()


def test_every_pixel_of_a_mask_is_sampled_with_extreme_noise():
    noise = torch.tensor([[[0.0, 1 - 2**-24, 0.5, 1e-30]]])
    mask = torch.ones(1, 1, 4, dtype=torch.bool)
    assert seeds._drawn(mask, None, 4, noise).all()
    assert seeds._drawn(mask, torch.full((1, 1, 4), 1e-30), 4, noise).all()


def test_a_pixel_of_weight_zero_is_never_sampled(undilated):
    """A diagonal: its bounding box contains pixels of CAM 0."""
    cams = torch.eye(6)[None]
    drawn = seeds.sample_seeds(cams, pixels=100, foreground_share=1.0, background_share=0.01)
    assert ((drawn == FOREGROUND) <= (cams > 0)).all()
    noise = torch.rand(1, 6, 6)
    everywhere = torch.ones(1, 6, 6, dtype=torch.bool)
    assert torch.equal(seeds._drawn(everywhere, cams, 100, noise), cams > 0)


@pytest.mark.parametrize(("scheme", "region"), SCHEMES)
def test_seeds_do_not_depend_on_other_images_of_the_batch(scheme, region, monkeypatch):
    cams = cam_like(5, 24)
    noise = torch.rand(2, 5, 24, 24, generator=torch.Generator().manual_seed(9))
    chosen = [0, 1, 2, 3, 4]
    monkeypatch.setattr(torch, "rand", lambda size, **_: noise[:, chosen].view(size))
    together = seeds.sample_seeds(cams, scheme, 20, region=region)
    for chosen in ([3], [4, 1], [2, 2, 0]):
        drawn = seeds.sample_seeds(cams[chosen], scheme, 20, region=region)
        assert torch.equal(drawn, together[chosen])


@pytest.mark.parametrize("scheme", ["published", "text"])
def test_a_generator_seed_determines_the_sample(scheme):
    cams = cam_like(3, 32)

    def drawn(seed):
        return seeds.sample_seeds(cams, scheme, 20, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@given(
    npst.arrays(np.float32, npst.array_shapes(min_dims=3, max_dims=3, max_side=7),
                elements=st.floats(0, 1, width=16)),
    st.sampled_from(["published", "text"]),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_any_map_gives_seeds_of_its_size_with_both_classes_or_none(maps, scheme):
    drawn = seeds.sample_seeds(torch.from_numpy(maps), scheme, 3)
    assert drawn.shape == maps.shape
    assert drawn.dtype == torch.uint8
    assert set(drawn.unique().tolist()) <= {BACKGROUND, FOREGROUND, IGNORED}
    if scheme == "text":
        sides = [(drawn == side).sum((1, 2)) for side in (BACKGROUND, FOREGROUND)]
        assert torch.equal(*sides)


@pytest.mark.parametrize("region", REGIONS)
def test_the_choice_of_a_region_does_not_synchronize(region, monkeypatch):
    """Meta tensors have no data: reading them raises an error."""

    def labels(mask):
        return torch.empty(mask.shape, dtype=torch.int32, device=mask.device)

    monkeypatch.setattr(seeds, "connected_regions", labels)
    cams = torch.empty(4, 20, 30, device="meta")
    chosen = seeds.region_of_interest(seeds.foreground_region(cams), cams, region)
    assert chosen.shape == cams.shape
    assert chosen.dtype == torch.bool


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("scheme", "region"), SCHEMES)
def test_on_a_gpu_sampling_does_not_synchronize_and_regions_match_the_cpu(scheme, region):
    cams, masks = cam_like(4, 96), torch.from_numpy(winding(64).copy())
    on_gpu, masks_on_gpu = cams.cuda(), masks.cuda()
    generator = torch.Generator("cuda").manual_seed(0)
    seeds.sample_seeds(on_gpu, scheme, generator=generator, region=region)
    torch.cuda.set_sync_debug_mode("error")
    try:
        seeds.sample_seeds(on_gpu, scheme, generator=generator, region=region)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    above = seeds.foreground_region(on_gpu)
    assert torch.equal(above.cpu(), seeds.foreground_region(cams))
    interest = seeds.region_of_interest(above, on_gpu, region).cpu()
    assert torch.equal(interest, seeds.region_of_interest(above.cpu(), cams, region))
    regions = seeds.connected_regions(masks_on_gpu).cpu()
    assert torch.equal(regions, seeds.connected_regions(masks))


def test_an_unknown_scheme_is_refused(cam):
    with pytest.raises(ValueError, match="scheme"):
        seeds.sample_seeds(cam[None], "dense")

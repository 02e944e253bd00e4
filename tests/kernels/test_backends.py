"""Properties of every method, for both public operators."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.kernels import backend_torch, crf_energy, gaussian_filter

METHODS = ("dense", "grid", "permutohedral", "permutohedral-published")
FORMS = ("cut", "association")
# float32 sums in another order, and points that round to a neighbouring lattice cell
CLOSE = {"rtol": 2e-5, "atol": 1e-4}


def run_energy(images, probs, group, method, *, form="association", num_groups=None, **options):
    options = {"sigma_rgb": 15.0, **options}
    if num_groups is None:
        num_groups = int(group.max()) + 1
    return crf_energy(
        images, probs, group, num_groups=num_groups, form=form, method=method, **options
    )


def energy_and_gradient(images, probs, group, method, **options):
    probs = probs.detach().clone().requires_grad_()
    energy = run_energy(images, probs, group, method, **options)
    weights = torch.arange(1, len(energy) + 1, dtype=energy.dtype)
    (energy * weights).sum().backward()
    return energy.detach(), probs.grad


@pytest.fixture(scope="module")
def scene(textured, maps):
    """Five frames of three groups, one without frames: (images, probs, group)."""
    return textured(5, 12, 17), maps(5, 2, 12, 17), torch.tensor([0, 3, 1, 3, 3])


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_of_the_filter_is_its_derivative(method):
    torch.manual_seed(0)
    features = torch.rand(8, 3, dtype=torch.float64) * 4
    group = torch.tensor([0, 0, 1, 0, 1, 1, 1, 0])
    values = torch.randn(8, 2, dtype=torch.float64, requires_grad=True)

    def filtered(v):
        return gaussian_filter(v, features, group, method=method)

    assert torch.autograd.gradcheck(filtered, (values,))
    assert torch.autograd.gradgradcheck(filtered, (values,))


@pytest.mark.parametrize("method", ["dense", "permutohedral", "permutohedral-published"])
@pytest.mark.parametrize("d", [1, 2, 4, 5])
def test_the_gradient_is_the_derivative_for_every_number_of_features(method, d):
    torch.manual_seed(d)
    features = torch.rand(7, d, dtype=torch.float64) * 4
    values = torch.randn(7, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda v: gaussian_filter(v, features, method=method), (values,)
    )


@pytest.mark.parametrize("sigma_xy", [None, 2.0])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_of_the_energy_is_its_derivative(textured, maps, method, form, sigma_xy):
    if method == "grid" and sigma_xy is not None:
        pytest.skip("the grid uses colour only")
    images, group = textured(3, 3, 4), torch.tensor([1, 0, 1])
    for count in (2, 3):
        probs = maps(3, count, 3, 4).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda p: run_energy(
                images, p, group, method, form=form, sigma_rgb=24.0, sigma_xy=sigma_xy
            ),
            (probs,),
        )


@pytest.mark.parametrize("method", METHODS)
def test_permuting_frames_permutes_the_gradient(scene, method):
    images, probs, group = scene
    order = torch.tensor([3, 0, 4, 2, 1])
    energy, grad = energy_and_gradient(images, probs.float(), group, method)
    energy2, grad2 = energy_and_gradient(images[order], probs[order].float(), group[order], method)
    torch.testing.assert_close(energy2, energy, **CLOSE)
    torch.testing.assert_close(grad2, grad[order], **CLOSE)


@pytest.mark.parametrize("method", METHODS)
def test_permuting_groups_permutes_the_energies(scene, method):
    images, probs, group = scene
    names = torch.tensor([2, 0, 1, 3])
    energy = run_energy(images, probs, group, method, num_groups=4)
    renamed = run_energy(images, probs, names[group], method, num_groups=4)
    torch.testing.assert_close(renamed[names], energy, rtol=1e-9, atol=1e-9)
    assert energy[2] == 0


@pytest.mark.parametrize("method", METHODS)
def test_permuting_pixels_permutes_the_result(method):
    torch.manual_seed(3)
    values, features = torch.rand(90, 2), torch.rand(90, 3) * 9
    group, order = torch.randint(4, (90,)), torch.randperm(90)
    out = gaussian_filter(values, features, group, method=method)
    permuted = gaussian_filter(values[order], features[order], group[order], method=method)
    torch.testing.assert_close(permuted, out[order], **CLOSE)


@pytest.mark.parametrize("method", METHODS)
def test_a_group_does_not_depend_on_other_groups(scene, method):
    images, probs, group = scene
    images = images.clone()
    images[1], images[4] = 255 - images[1], 255  # other colours than group 0 and 1 ever see
    energy, grad = energy_and_gradient(images, probs, group, method)
    alone, grad_alone = energy_and_gradient(images[:1], probs[:1], group[:1], method)
    torch.testing.assert_close(alone[0], energy[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grad_alone[0], grad[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_features_of_other_groups_do_not_shift_the_grid_or_lattice(method):
    torch.manual_seed(5)
    values, features = torch.rand(60, 2), torch.rand(60, 3) * 5
    group = torch.arange(60) % 2
    features[1::2] += 11.3
    both = gaussian_filter(values, features, group, method=method)
    alone = gaussian_filter(values[::2], features[::2], method=method)
    torch.testing.assert_close(both[::2], alone, **CLOSE)


@pytest.mark.parametrize("method", METHODS)
def test_the_filter_is_linear(method):
    torch.manual_seed(1)
    a, b, features = torch.rand(70, 2), torch.rand(70, 2), torch.rand(70, 3) * 8
    filtered = gaussian_filter(2 * a - 3 * b, features, method=method)
    parts = 2 * gaussian_filter(a, features, method=method) - 3 * gaussian_filter(
        b, features, method=method
    )
    torch.testing.assert_close(filtered, parts, rtol=1e-4, atol=1e-4)
    doubled = gaussian_filter(2 * a, features, method=method)
    torch.testing.assert_close(doubled, 2 * gaussian_filter(a, features, method=method), **CLOSE)


@pytest.mark.parametrize("method", METHODS)
def test_two_runs_agree(scene, method):
    images, probs, group = scene
    first = energy_and_gradient(images, probs.float(), group, method)
    second = energy_and_gradient(images, probs.float(), group, method)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_cut_and_association_differ_by_a_constant(scene, method):
    images, probs, group = scene
    cut, cut_grad = energy_and_gradient(images, probs, group, method, form="cut")
    association, association_grad = energy_and_gradient(
        images, probs, group, method, form="association"
    )
    ones = torch.zeros_like(probs)
    ones[:, 0] = 1
    total = -run_energy(images, ones, group, method)
    torch.testing.assert_close(cut - association, total, rtol=1e-9, atol=1e-9)
    # on logits, where only the difference of the two maps' gradients counts, they are the same
    torch.testing.assert_close(
        cut_grad[:, 0] - cut_grad[:, 1],
        association_grad[:, 0] - association_grad[:, 1],
        rtol=1e-9,
        atol=1e-9,
    )
    assert (cut >= 0).all()
    assert (association <= 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["channels last", "strided", "expanded"])
def test_the_layout_in_memory_does_not_change_the_result(scene, method, layout):
    images, probs, group = scene
    if layout == "expanded":
        images, probs = images[:1].expand(5, -1, -1, -1), probs[:1].expand(5, -1, -1, -1)
    expected = energy_and_gradient(images.contiguous(), probs.contiguous(), group, method)
    if layout == "channels last":
        images = images.contiguous(memory_format=torch.channels_last)
        probs = probs.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        images = images.repeat_interleave(2, 3)[..., ::2]
        probs = probs.repeat_interleave(3, 2)[:, :, ::3]
        assert not images.is_contiguous()
    leaf = probs.detach().requires_grad_()
    energy = run_energy(images, leaf, group, method)
    (energy * torch.arange(1, 5)).sum().backward()
    torch.testing.assert_close(energy.detach(), expected[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(leaf.grad, expected[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_8_bit_and_integer_float_images_give_the_same_energies(scene, method):
    images, probs, group = scene
    for dtype in (torch.float32, torch.float64, torch.float16):
        torch.testing.assert_close(
            run_energy(images.to(dtype), probs, group, method),
            run_energy(images, probs, group, method),
            rtol=1e-9,
            atol=1e-9,
        )


@pytest.mark.parametrize("method", METHODS)
def test_autocast_does_not_change_the_result(scene, method):
    images, probs, group = scene
    plain = energy_and_gradient(images, probs.float(), group, method)
    features = torch.rand(40, 3) * 6
    values = torch.rand(40, 2, requires_grad=True)
    (gaussian_filter(values, features, method=method) ** 2).sum().backward()
    grad, values.grad = values.grad, None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = energy_and_gradient(images, probs.float(), group, method)
        (gaussian_filter(values, features, method=method) ** 2).sum().backward()
    assert under[0].dtype == torch.float32
    for a, b in zip(plain, under, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(values.grad, grad, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maps_are_summed_in_float32(scene, method, dtype):
    images, probs, group = scene
    half = probs.to(dtype)
    energy, grad = energy_and_gradient(images, half, group, method)
    expected, expected_grad = energy_and_gradient(images, half.float(), group, method)
    assert energy.dtype == torch.float32
    assert grad.dtype == dtype
    torch.testing.assert_close(energy, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(grad, expected_grad.to(dtype))
    values = torch.rand(9, 1).to(dtype)
    assert gaussian_filter(values, torch.rand(9, 3), method=method).dtype == dtype


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (1, 13), (7, 1), (11, 19), (2, 2)])
def test_frames_of_odd_and_tiny_sizes(textured, maps, naive_crf, method, size):
    images, probs = textured(2, *size), maps(2, 2, *size)
    group = torch.tensor([0, 1])
    sigma_xy = None if method == "grid" else 5.0
    bound = {"dense": 1e-9, "grid": 0.005, "permutohedral": 0.25}.get(method, 0.75)
    for form in FORMS:
        energy = run_energy(images, probs, group, method, form=form, sigma_xy=sigma_xy)
        expected = naive_crf(images, probs, group, 2, 15.0, sigma_xy, form)
        assert ((energy / expected - 1).abs() <= bound).all()


@pytest.mark.parametrize("method", METHODS)
def test_extreme_8_bit_colours(method, maps, naive_crf):
    corners = torch.tensor([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)])
    images = corners.to(torch.uint8).T.reshape(1, 3, 2, 4).repeat(1, 1, 2, 2)
    probs, group = maps(1, 2, 4, 8), torch.zeros(1, dtype=torch.int64)
    energy = run_energy(images, probs, group, method)
    expected = naive_crf(images, probs, group, 1, 15.0, None, "association")
    bound = {"dense": 1e-9, "grid": 0.005}.get(method, 0.35)
    assert abs(float(energy / expected) - 1) <= bound


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", METHODS)
def test_results_on_a_gpu_match_the_cpu(scene, method):
    images, probs, group = scene
    for dtype in (torch.float64, torch.float32):
        leaf = probs.to("cuda", dtype).requires_grad_()
        energy = run_energy(images.cuda(), leaf, group.cuda(), method)
        (energy * torch.arange(1, 5, device="cuda")).sum().backward()
        expected = energy_and_gradient(images, probs.to(dtype), group, method)
        torch.testing.assert_close(energy.detach().cpu(), expected[0], **CLOSE)
        torch.testing.assert_close(leaf.grad.cpu(), expected[1], **CLOSE)
    features, values = torch.rand(50, 3) * 7, torch.rand(50, 2)
    on_gpu = gaussian_filter(values.cuda(), features.cuda(), method=method)
    torch.testing.assert_close(on_gpu.cpu(), gaussian_filter(values, features, method=method))


@pytest.mark.parametrize("method", METHODS)
def test_no_frames_have_no_energy(method):
    images, probs = torch.zeros(0, 3, 4, 4, dtype=torch.uint8), torch.zeros(0, 2, 4, 4)
    group = torch.zeros(0, dtype=torch.int64)
    assert run_energy(images, probs, group, method, num_groups=3).tolist() == [0, 0, 0]
    empty = gaussian_filter(torch.zeros(0, 2), torch.zeros(0, 3), method=method)
    assert empty.shape == (0, 2)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    count=st.integers(2, 4),
    sigma=st.floats(9.0, 80.0),
    sigma_xy=st.one_of(st.none(), st.floats(2.0, 50.0)),
    form=st.sampled_from(FORMS),
    spread=st.integers(0, 255),
    seed=st.integers(0, 10**6),
)
def test_any_frames_groups_and_sigmas(
    maps, naive_crf, sizes, height, width, count, sigma, sigma_xy, form, spread, seed
):
    """Groups of different size in mixed order, colours of any spread, two to four maps."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    group = group[torch.randperm(len(group), generator=generator)]
    images = torch.randint(0, spread + 1, (len(group), 3, height, width), generator=generator)
    images = images.to(torch.uint8)
    probs = maps(len(group), count, height, width, seed)
    expected = naive_crf(images, probs, group, len(sizes), sigma, sigma_xy, form)
    for method in ("dense", "permutohedral") + (("grid",) if sigma_xy is None else ()):
        for dtype in (torch.float64, torch.float32):
            energy = run_energy(
                images,
                probs.to(dtype),
                group,
                method,
                form=form,
                sigma_rgb=sigma,
                sigma_xy=sigma_xy,
                num_groups=len(sizes),
            )
            bound = {"dense": 1e-4, "grid": 5e-3}.get(method, 0.2)
            assert energy.dtype == dtype
            assert torch.allclose(energy.double(), expected, rtol=bound, atol=1e-3), method


@settings(max_examples=25, deadline=None)
@given(
    points=st.integers(1, 40),
    d=st.integers(1, 5),
    channels=st.integers(1, 4),
    groups=st.integers(1, 5),
    extent=st.floats(0.0, 30.0),
    seed=st.integers(0, 10**6),
)
def test_any_points(naive, points, d, channels, groups, extent, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(points, d, generator=generator, dtype=torch.float64) * extent
    values = torch.rand(points, channels, generator=generator, dtype=torch.float64)
    group = torch.randint(groups, (points,), generator=generator)
    expected = naive(values, features, group)
    bounds = {"dense": 1e-10, "permutohedral": 0.25} | ({"grid": 5e-3} if d == 3 else {})
    for method, bound in bounds.items():
        out = gaussian_filter(values, features, group, num_groups=groups, method=method)
        error = (out - expected).abs().sum() / expected.abs().sum()
        assert error <= bound, method


@pytest.mark.parametrize("group", [[0, 0, 2, 3, 3], [0, 3, 2, 3, 0], [1, 1, 1, 1, 1]])
@pytest.mark.parametrize("method", METHODS)
def test_splitting_into_parts_gives_the_same_result(textured, maps, monkeypatch, method, group):
    images, probs, group = textured(5, 12, 17), maps(5, 2, 12, 17), torch.tensor(group)
    whole = energy_and_gradient(images, probs, group, method, num_groups=5)
    how = (images, probs, group, 5, 15.0, None, "association", method)
    strides = [result.stride() for result in backend_torch.energy_and_half_grad(*how)]
    monkeypatch.setattr(backend_torch, "PART", 12 * 17 / torch.get_num_threads())
    parts = len(backend_torch._parts(group, 5, 12 * 17))
    assert parts == (len(group.unique()) if torch.equal(group, group.sort()[0]) else 1)
    in_parts = energy_and_gradient(images, probs, group, method, num_groups=5)
    for one, other in zip(in_parts, whole, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
    assert [result.stride() for result in backend_torch.energy_and_half_grad(*how)] == strides


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 6), max_size=30), st.integers(0, 3), st.integers(1, 9),
)  # fmt: skip
def test_parts_contain_every_frame_and_group_once(groups, more, most):
    group = torch.tensor(sorted(groups), dtype=torch.int64)
    number = max(groups, default=0) + 1 + more
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend_torch, "PART", most / torch.get_num_threads())
        parts = backend_torch._parts(group, number, 1)
    assert [g for part, _ in parts for g in range(part.start, part.stop)] == list(range(number))
    assert [f for _, part in parts for f in range(part.start, part.stop)] == list(
        range(len(groups))
    )
    for of_groups, frames in parts:
        inside = group[frames]
        assert (inside >= of_groups.start).all()
        assert (inside < of_groups.stop).all()
        assert len(inside) <= most or len(inside.unique()) == 1

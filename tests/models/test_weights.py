"""Pretrained weights: none, torchvision's, a file; and their errors."""

import io
import socket
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from colocam.models import Localizer
from colocam.models.encoders import ENCODERS
from colocam.models.weights import load_weights
from colocam.runtime.errors import UserError

DOWNLOAD = "torchvision.models._api.load_state_dict_from_url"


def features_at_stride_8(network: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """torchvision's network with the strides of layer3 and layer4 set to 1."""
    for layer in (network.layer3, network.layer4):
        first = layer[0]
        first.downsample[0].stride = (1, 1)
        convolution = first.conv2 if hasattr(first, "conv3") else first.conv1
        assert convolution.stride == (2, 2)
        convolution.stride = (1, 1)
    with torch.no_grad():
        x = network.relu(network.bn1(network.conv1(images)))
        maps = [x]
        x = network.maxpool(x)
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
            x = layer(x)
            maps.append(x)
    return maps


@pytest.fixture(scope="module")
def resnet18(torchvision_network) -> torch.nn.Module:
    return torchvision_network("resnet18")


@pytest.fixture(scope="module")
def files(resnet18, tmp_path_factory) -> dict:
    """A torchvision state dict of a ResNet18 in both formats."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(resnet18.state_dict(), folder / "resnet18.pth")
    save_file(resnet18.state_dict(), folder / "resnet18.safetensors")
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was used")

    for name in (
        DOWNLOAD,
        "torch.hub.load_state_dict_from_url",
        "torch.hub.download_url_to_file",
        "urllib.request.urlopen",
    ):
        monkeypatch.setattr(name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("weights", [None, "none"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_without_weights_nothing_is_downloaded(encoder, weights, no_network):
    with torch.device("meta"):
        Localizer(encoder, 3, weights)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_file_is_loaded_exactly_without_a_download(suffix, files, resnet18, no_network):
    model = Localizer("resnet18", 3, files[suffix])
    assert torch.equal(model.encoder.stem[0].weight, resnet18.conv1.weight)
    assert torch.equal(model.encoder.stem[1].running_var, resnet18.bn1.running_var)
    theirs, ours = resnet18.state_dict(), model.encoder.state_dict()
    for name, tensor in theirs.items():
        if name.startswith("layer"):
            assert torch.equal(ours[name], tensor)
    named = sum(not name.startswith("fc.") for name in theirs)
    assert len(ours) == named


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_encoder_equals_torchvision_at_stride_8(name, tmp_path, torchvision_network):
    network = torchvision_network(name, seed=1)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    model = Localizer(name, 3, str(tmp_path / "weights.safetensors")).eval()
    images = torch.randn(2, 3, 48, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got = model.encoder(images)
    for ours, theirs in zip(got, features_at_stride_8(network, images), strict=True):
        assert torch.equal(ours, theirs)


IMAGENET = {
    "resnet18": torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
    "resnet50": torchvision.models.ResNet50_Weights.IMAGENET1K_V1,
    "vgg16": torchvision.models.VGG16_Weights.IMAGENET1K_V1,
    "inceptionv3": torchvision.models.Inception_V3_Weights.IMAGENET1K_V1,
}


@pytest.mark.parametrize("name", ENCODERS)
def test_imagenet_weights_are_downloaded_and_their_hash_checked(
    name, monkeypatch, torchvision_network
):
    state, options_of_call = torchvision_network(name).state_dict(), {}

    def download(url, **options):
        options_of_call.update(options, url=url)
        return state

    monkeypatch.setattr(DOWNLOAD, download)
    encoder, fresh = (ENCODERS[name][0]() for _ in range(2))
    load_weights(encoder, name, "imagenet")
    fresh.load_backbone(state)
    for key, tensor in fresh.state_dict().items():
        assert torch.equal(encoder.state_dict()[key], tensor)
    assert options_of_call["url"] == IMAGENET[name].url
    assert options_of_call["check_hash"]


@pytest.mark.parametrize(
    "error",
    [
        URLError("no route to host"),
        TimeoutError("timed out"),
        RuntimeError('invalid hash value (expected "f37072fd", got "00")'),
        EOFError("Ran out of input"),
        EOFError(),
    ],
)
def test_error_of_a_failed_download_names_the_flag_and_alternatives(monkeypatch, error):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(DOWNLOAD, fail)
    with pytest.raises(
        UserError, match=r"--weights imagenet: .*resnet18.*--weights none"
    ) as caught:
        Localizer("resnet18", 3, "imagenet")
    assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_refused_by_name(files, tmp_path):
    for path in files.values():
        for name in ("resnet50", "vgg16", "inceptionv3"):
            with pytest.raises(UserError, match=f"{path.name}.*{name}"):
                load_weights(ENCODERS[name][0](), name, path)
    other = tmp_path / "something.safetensors"
    save_file({"weight": torch.zeros(3)}, other)
    with pytest.raises(UserError, match=r"something\.safetensors.*resnet18"):
        Localizer("resnet18", 3, other)


def test_missing_file_and_folder_are_refused_by_name(tmp_path):
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(UserError, match=f"--weights {path}: no such file"):
            Localizer("resnet18", 3, path)


def damaged_pickles() -> dict[str, bytes]:
    """Truncated files, files with flipped bytes, and other files, in both of torch's formats."""
    state, damaged = {"a.weight": torch.randn(3, 4), "b": torch.arange(5)}, {}
    generator = torch.Generator().manual_seed(0)
    for form in (True, False):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=form)
        whole = buffer.getvalue()
        damaged[f"cut {form}"] = whole[: len(whole) // 2]
        for number in range(40):
            flipped = bytearray(whole)
            for place in torch.randint(len(whole) // 2, (3,), generator=generator).tolist():
                flipped[place] ^= 1 << number % 8
            damaged[f"flipped {form} {number}"] = bytes(flipped)
    return damaged | {"empty": b"", "text": b"these are not weights\n", "zeros": bytes(100)}


@pytest.mark.filterwarnings("ignore")
def test_error_of_a_damaged_pickle_is_one_line_that_names_the_file(tmp_path):
    """Files that are still readable are not a ResNet18."""
    path, encoder = tmp_path / "weights.pth", Localizer("resnet18", 3).encoder
    for content in damaged_pickles().values():
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"--weights {path}: ") as caught:
            load_weights(encoder, "resnet18", path)
        assert "\n" not in str(caught.value)


def test_damaged_safetensors_file_is_refused_by_name(files, tmp_path):
    whole, path = files[".safetensors"].read_bytes(), tmp_path / "weights.safetensors"
    for content in (b"", b"no weights", whole[:5000], whole[:-7], b"\xff" * 8 + whole[8:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"--weights {path}: cannot be read") as caught:
            Localizer("resnet18", 3, path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[torch.zeros(3)], torch.zeros(3), {1: torch.zeros(3)}, "text"])
def test_file_without_a_state_dict_is_refused_by_name(content, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth: holds no state dict"):
        Localizer("resnet18", 3, tmp_path / "other.pth")


def test_training_checkpoint_with_a_nested_state_dict_is_refused_by_name(resnet18, tmp_path):
    torch.save({"model": resnet18.state_dict(), "epoch": 3}, tmp_path / "run.pth")
    with pytest.raises(UserError, match=r"run\.pth.*resnet18"):
        Localizer("resnet18", 3, tmp_path / "run.pth")

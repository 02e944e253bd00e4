"""Checkpoints: round trips, refused files, failing writes."""

import errno
import json
import os
from dataclasses import replace
from typing import get_args

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from colocam.models import Localizer
from colocam.models.base import Encoder
from colocam.models.checkpoint import (
    VERSION,
    CheckpointInfo,
    load_checkpoint,
    save_checkpoint,
)
from colocam.models.encoders import ENCODERS
from colocam.models.head import Pooling
from colocam.runtime.errors import UserError
from colocam.runtime.files import read_tensors, write_tensors

INFO = CheckpointInfo(
    "localizer", "tiny", ("bird", "cat", "chat à l'école"), 96, "layercam", 7,
    {"localization": 61.25, "seed_cam": 45.0}, cam_threshold=0.214, threshold=None,
)  # fmt: skip


class TinyEncoder(Encoder):
    """Five maps of few channels."""

    def __init__(self, deepest: int = 8) -> None:
        super().__init__()
        self.channels = (4, 4, 4, 4, deepest)
        widths = (3, *self.channels)
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv2d(widths[k], widths[k + 1], 3, 2 if k < 3 else 1, 1) for k in range(5)
        )

    def forward(self, images):
        maps = []
        for layer in self.layers:
            images = layer(images).relu()
            maps.append(images)
        return maps


@pytest.fixture(autouse=True)
def tiny_encoders(monkeypatch):
    """Adds two small encoders to the table."""
    monkeypatch.setitem(ENCODERS, "tiny", (TinyEncoder, None))
    monkeypatch.setitem(ENCODERS, "wider", (lambda: TinyEncoder(12), None))


@pytest.fixture
def model() -> Localizer:
    torch.manual_seed(0)
    return Localizer("tiny", 3)


@pytest.fixture
def checkpoint(model, tmp_path):
    path = tmp_path / "localizer-best.safetensors"
    save_checkpoint(path, model, INFO)
    return path


def complaint(path, kind=None) -> str | None:
    """The error of loading a file; None if it loads."""
    try:
        load_checkpoint(path, kind)
    except UserError as error:
        return str(error)
    return None


def refused(path, kind=None) -> str:
    """The error of a refused file, one line that names the file."""
    message = complaint(path, kind)
    assert message is not None
    assert str(path) in message
    assert "\n" not in message
    return message


def rewritten(path, target, header=None, state=None) -> None:
    """Writes the checkpoint with other header entries or tensors, and a valid digest."""
    old, tensors = read_tensors(path)
    write_tensors(target, tensors if state is None else state, {**old, **(header or {})})


# Round trips


def test_localizer_round_trips_bit_for_bit(model, checkpoint):
    loaded, info = load_checkpoint(checkpoint)
    assert info == INFO
    assert not loaded.training
    saved = model.state_dict()
    assert saved.keys() == loaded.state_dict().keys()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == saved[name].dtype
        assert torch.equal(tensor, saved[name])
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected, got = model.eval()(images), loaded(images)
    assert torch.equal(expected[0], got[0])
    assert torch.equal(expected[1], got[1])


def test_classifier_round_trips_without_its_decoder(model, tmp_path):
    path, info = tmp_path / "classifier.safetensors", replace(INFO, kind="classifier", scores={})
    save_checkpoint(path, model, info)
    loaded, read = load_checkpoint(path, "classifier")
    assert read == info
    for module, original in zip(
        loaded.classifier_modules(), model.classifier_modules(), strict=True
    ):
        for name, tensor in original.state_dict().items():
            assert torch.equal(module.state_dict()[name], tensor)
    with safe_open(path, "pt") as file:
        assert not any(name.startswith(("decoder.", "to_maps.")) for name in file.keys())  # noqa: SIM118


def test_resnet_with_channels_last_weights_round_trips_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    model = Localizer("resnet18", 2).to(memory_format=torch.channels_last).train()
    model(torch.randn(2, 3, 32, 32))  # changes the batch norm statistics
    info = replace(INFO, encoder="resnet18", classes=("a", "b"), threshold=0.5)
    save_checkpoint(tmp_path / "resnet.safetensors", model, info)
    loaded, read = load_checkpoint(tmp_path / "resnet.safetensors", "localizer")
    assert read == info
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


@pytest.mark.parametrize("kind", ["classifier", "localizer"])
@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_pooling_of_the_model_round_trips(tmp_path, kind, pooling):
    torch.manual_seed(0)
    path, model = tmp_path / "model.safetensors", Localizer("tiny", 3, pooling=pooling).eval()
    save_checkpoint(path, model, replace(INFO, kind=kind))
    loaded, info = load_checkpoint(path)
    assert info == replace(INFO, kind=kind, pooling=pooling)
    assert loaded.head.pooling == pooling
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images)[0], model(images)[0])


@pytest.mark.parametrize("encoder", ["vgg16", "inceptionv3"])
def test_classifier_of_every_encoder_family_round_trips(encoder, tmp_path):
    torch.manual_seed(0)
    path, model = tmp_path / "classifier.safetensors", Localizer(encoder, 3).eval()
    save_checkpoint(path, model, replace(INFO, kind="classifier", encoder=encoder))
    loaded, info = load_checkpoint(path, "classifier")
    assert info.encoder == loaded.encoder_name == encoder
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected, got = (m.classify(m.encoder(images)) for m in (model, loaded))
    assert torch.equal(expected, got)


def test_second_write_replaces_the_file_and_leaves_no_other(model, checkpoint):
    with torch.no_grad():
        model.head.bias.fill_(3)
    save_checkpoint(checkpoint, model, replace(INFO, epoch=8))
    loaded, info = load_checkpoint(checkpoint)
    assert info.epoch == 8
    assert (loaded.head.bias == 3).all()
    assert os.listdir(checkpoint.parent) == [checkpoint.name]


def test_folders_are_made_and_permissions_are_the_usual_ones(model, tmp_path):
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    save_checkpoint(path, model, INFO)
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode


# Files that cannot be used


def test_missing_file_and_folder_are_refused(tmp_path):
    assert "no such file" in refused(tmp_path / "absent.safetensors")
    assert "no such file" in refused(tmp_path)


def test_truncated_file_is_refused(checkpoint):
    whole = checkpoint.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    lengths = [0, 4, 8, 9, 100, header - 1, header, header + 1, len(whole) // 2, len(whole) - 1]
    generator = torch.Generator().manual_seed(0)
    lengths += torch.randint(0, len(whole), (40,), generator=generator).tolist()
    for length in lengths:
        checkpoint.write_bytes(whole[:length])
        assert "damaged" in refused(checkpoint)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b"\xff\xff\xff\xff\xff\xff\xff\x7f"),  # length of the header
        (b'{"__metadata__"', b'z"__metadata__"'),
        (b'"F32"', b'"F33"'),
        (b'"head.weight"', b'"heat.weight"'),
        (b'"version"', b'"Version"'),
        (b'"format"', b'"formau"'),
        (b'\\"kind\\"', b'\\"kinf\\"'),
        (b'\\"kind\\": \\"localizer', b'\\"kind\\": \\"locallzer'),
        (b'\\"encoder\\": \\"tiny', b'\\"encoder\\": \\"tinx'),
        (b'\\"classes\\": [', b'\\"classes\\": {'),
        (b'\\"classes\\"', b'\\"claskes\\"'),
    ],
)
def test_changed_byte_in_the_header_is_refused(checkpoint, old, new):
    whole = checkpoint.read_bytes()
    if old:
        assert whole.count(old) >= 1
        checkpoint.write_bytes(whole.replace(old, new, 1))
    else:
        checkpoint.write_bytes(new + whole[len(new) :])
    refused(checkpoint)


def flip_offsets(whole):
    """Offsets in the file: many in the header, many anywhere, and around its end."""
    header = 8 + int.from_bytes(whole[:8], "little")
    start = whole.index(b"__metadata__")
    end = whole.index(b"}", whole.index(b"layercam"))
    places = [*range(8), header - 1, header, header + 1, len(whole) - 1]
    generator = torch.Generator().manual_seed(0)
    for low, high, count in ((8, header, 60), (start, end, 90), (header, len(whole), 150)):
        places += torch.randint(low, high, (count,), generator=generator).tolist()
    return places


def test_flipped_bit_anywhere_is_refused_or_changes_nothing(model, checkpoint):
    whole, saved = checkpoint.read_bytes(), model.state_dict()
    for number, place in enumerate(flip_offsets(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << number % 8
        checkpoint.write_bytes(flipped)
        message = complaint(checkpoint)
        if message is not None:
            assert str(checkpoint) in message
            assert "\n" not in message
            continue
        loaded, info = load_checkpoint(checkpoint)
        assert info == INFO
        for name, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, saved[name])


@pytest.mark.parametrize("name", ["head.weight", "decoder", "to_maps"])
def test_flipped_bit_in_a_weight_is_refused(model, checkpoint, name):
    """The lowest bit of one value, which only the digest detects."""
    whole = checkpoint.read_bytes()
    tensor = next(t for n, t in model.state_dict().items() if n.startswith(name) and t.dim() > 1)
    place = whole.index(tensor.contiguous().numpy().tobytes())
    flipped = bytearray(whole)
    flipped[place] ^= 1
    checkpoint.write_bytes(flipped)
    assert refused(checkpoint) == (
        f"{checkpoint}: damaged: its contents are not those that were written"
    )


def test_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    for content in (b"not a checkpoint", b"PK\x03\x04" + bytes(200), bytes(64)):
        path.write_bytes(content)
        assert "damaged or not a safetensors file" in refused(path)


def test_other_safetensors_files_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(3)}, path, metadata)
        assert "not a checkpoint of this package" in refused(path)


@pytest.mark.parametrize("version", ["1", "3", "0", "", "2.0"])
def test_another_version_is_refused(checkpoint, tmp_path, version):
    path = tmp_path / "other.safetensors"
    rewritten(checkpoint, path, {"version": version})
    message = refused(path)
    assert message.startswith(f"{path}: format version '{version}', this package reads {VERSION}")


def test_file_of_version_1_without_a_digest_is_not_reported_as_damaged(checkpoint, tmp_path):
    header, tensors = read_tensors(checkpoint)
    values = json.loads(header["info"])
    del values["pooling"]
    header |= {"version": "1", "info": json.dumps(values)}
    save_file(tensors, tmp_path / "older.safetensors", header)
    assert "format version '1', this package reads 2" in refused(tmp_path / "older.safetensors")
    save_file(tensors, tmp_path / "older.safetensors", header | {"version": "2"})
    assert "damaged" in refused(tmp_path / "older.safetensors")


def test_training_state_is_refused_and_a_checkpoint_suggested(checkpoint, tmp_path):
    path = tmp_path / "state-localizer-0003-000000.safetensors"
    rewritten(checkpoint, path, {"format": "colocam-state", "version": "1"})
    message = refused(path)
    assert "--resume" in message
    assert "localizer-best.safetensors" in message


def test_another_kind_is_refused(checkpoint):
    assert "holds a localizer, a classifier is needed" in refused(checkpoint, "classifier")
    load_checkpoint(checkpoint, "localizer")


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": "wider"},
        {"encoder": "resnet18"},
        {"encoder": "resnet1001"},
        {"classes": ["bird", "cat"]},
        {"kind": "classifier"},
        {"kind": "decoder"},
        {"encoder": ["tiny"]},
        {"classes": 3},
        {"novelty": 1},
        {"pooling": "median"},
        {"pooling": ["max"]},
    ],
)
def test_header_that_does_not_match_the_tensors_is_refused(checkpoint, tmp_path, change):
    """Another architecture, another number of classes, another kind, other entries."""
    values = json.loads(read_tensors(checkpoint)[0]["info"])
    path = tmp_path / "other.safetensors"
    rewritten(checkpoint, path, {"info": json.dumps(values | change)})
    assert "damaged: its contents" not in refused(path)  # the digest is valid, the header is not


@pytest.mark.parametrize("info", ["", "[]", "3", '{"kind": "localizer"}', "{"])
def test_header_with_missing_entries_is_refused(checkpoint, tmp_path, info):
    rewritten(checkpoint, tmp_path / "other.safetensors", {"info": info})
    assert "header is damaged" in refused(tmp_path / "other.safetensors")


@pytest.mark.parametrize("text", ["", "[]", '{"mean": [0, 0, 0]}', '{"mean": [0], "std": [1]}'])
def test_header_with_damaged_normalization_is_refused(checkpoint, tmp_path, text):
    rewritten(checkpoint, tmp_path / "other.safetensors", {"normalization": text})
    assert "header is damaged" in refused(tmp_path / "other.safetensors")


def test_missing_and_additional_tensors_are_refused(checkpoint, model, tmp_path):
    path, state = tmp_path / "other.safetensors", model.state_dict()
    rewritten(checkpoint, path, state={k: v for k, v in state.items() if k != "head.bias"})
    assert "does not hold a tiny localizer" in refused(path)
    rewritten(checkpoint, path, state={**state, "extra": torch.zeros(1)})
    assert "does not hold a tiny localizer" in refused(path)
    rewritten(checkpoint, path, state={**state, "head.bias": torch.zeros(5)})
    assert "head.bias" in refused(path)


# Failing writes


def fail_at(monkeypatch, call: str, error: BaseException) -> None:
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(os, call, fail)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError("odd")]
)
def test_failed_write_leaves_only_the_old_checkpoint(model, checkpoint, monkeypatch, call, error):
    before = checkpoint.read_bytes()
    fail_at(monkeypatch, call, error)
    with pytest.raises(UserError, match="cannot be written") as caught:
        save_checkpoint(checkpoint, model, replace(INFO, epoch=8))
    assert str(checkpoint) in str(caught.value)
    assert (error.strerror or str(error)) in str(caught.value)
    assert checkpoint.read_bytes() == before
    assert os.listdir(checkpoint.parent) == [checkpoint.name]


def test_failed_first_write_leaves_an_empty_folder(model, tmp_path, monkeypatch):
    fail_at(monkeypatch, "replace", OSError(errno.EACCES, "Permission denied"))
    with pytest.raises(UserError, match="Permission denied"):
        save_checkpoint(tmp_path / "last.safetensors", model, INFO)
    assert os.listdir(tmp_path) == []


def test_file_with_the_name_of_the_folder_is_named(model, tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(UserError, match=r"checkpoints/last\.safetensors: cannot be written"):
        save_checkpoint(tmp_path / "checkpoints" / "last.safetensors", model, INFO)
    assert (tmp_path / "checkpoints").read_text() == "a file"

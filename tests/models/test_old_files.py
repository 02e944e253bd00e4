"""Checkpoints written by earlier versions of the package load.

`checkpoint_version_2.json` holds header, names, types and shapes of the tensors of a classifier and
a localizer, as written by the first version of this format, and the digest of a file with this
header and the tensors of `fill_tensors`. If the format changes, its version must change too, and
files of this version must still load.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from colocam.models.checkpoint import load_checkpoint

KINDS = ("classifier", "localizer")


@pytest.fixture(scope="module")
def pinned():
    return json.loads(Path(__file__).with_name("checkpoint_version_2.json").read_text())


@pytest.fixture
def old_file(pinned, tmp_path, fill_tensors):
    """Writes the pinned checkpoint of a kind without the package's own code."""

    def write(kind):
        path, file = tmp_path / f"{kind}.safetensors", pinned[kind]
        tensors = fill_tensors(file["tensors"])
        save_file(tensors, path, file["header"] | {"sha256": file["sha256"]})
        return path, tensors

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_of_version_2_loads(old_file, pinned, kind):
    path, tensors = old_file(kind)
    model, info = load_checkpoint(path, kind)
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in tensors.items())
    expected = json.loads(pinned[kind]["header"]["info"]) | {
        "centre_threshold": None,
        "split": None,
    }
    assert json.loads(json.dumps(vars(info))) == expected


def test_pinned_header_has_all_entries(pinned):
    """What the first files of this version hold; entries added later need a default."""
    for kind in KINDS:
        assert pinned[kind]["header"].keys() == {"format", "version", "info"}
        assert (pinned[kind]["header"]["format"], pinned[kind]["header"]["version"]) == (
            "colocam",
            "2",
        )
        assert json.loads(pinned[kind]["header"]["info"]).keys() == {
            "kind", "encoder", "classes", "size", "cam", "epoch", "scores", "cam_threshold",
            "threshold", "cam_layer", "pooling",
        }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_written_today_has_the_pinned_names_and_shapes(tiny_run, pinned, kind):
    """An earlier version of the package can read it."""
    name = "localizer-best" if kind == "localizer" else "classifier-best-localization"
    with safe_open(tiny_run.checkpoint(name), "pt") as file:
        parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
        assert {key: [part.get_dtype(), part.get_shape()] for key, part in parts.items()} == pinned[
            kind
        ]["tensors"]
        header = file.metadata()
    assert header.keys() == pinned[kind]["header"].keys() | {
        "sha256", "normalization", "centre_threshold", "split",
    }  # fmt: skip
    entries = json.loads(pinned[kind]["header"]["info"])
    assert json.loads(header["info"]).keys() == entries.keys()

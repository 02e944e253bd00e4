"""bench/models.py: counts of every backbone; user errors are one line."""

import json

import pytest
import torch

import models
from colocam.models import Localizer
from colocam.models.encoders import ENCODERS


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("models") / "out" / "models.json"
    assert models.main(["--json", str(path)]) == 0
    table = path.with_suffix(".md").read_text()
    for encoder in ENCODERS:
        assert f"| {encoder} |" in table
    return json.loads(path.read_text())


def test_every_backbone_has_a_row_whose_parts_sum_to_the_total(result):
    assert [row["model"] for row in result["rows"]] == list(ENCODERS)
    for row in result["rows"]:
        for unit in ("mparams", "gflops", "gmacs"):
            classifier, decoder, total = (
                row[f"{part}_{unit}"] for part in ("classifier", "decoder", "total")
            )
            assert classifier > 0
            assert decoder > 0
            assert total == pytest.approx(classifier + decoder)
        assert row["total_gflops"] == pytest.approx(2 * row["total_gmacs"])
    assert result["machine"]["torch"] == torch.__version__


def test_resnet50_is_within_one_percent_of_the_paper(result):
    (row,) = [row for row in result["rows"] if row["model"] == "resnet50"]
    for name, published in result["published"].items():
        if isinstance(published, float):
            assert row[name] == pytest.approx(published, rel=0.01), name


@pytest.mark.parametrize("encoder", ["resnet18", "vgg16"])
def test_operations_are_those_of_the_convolutions(result, encoder):
    """Counted by hooks: kernel × input channels × positions × output channels."""
    with torch.device("meta"):
        model, frame = Localizer(encoder, 10).eval(), torch.empty(1, 3, 224, 224)
    macs = [10 * model.head.in_features]

    def add(layer, _, output):
        macs.append(layer.weight[0].numel() * output.numel())

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(add)
    model(frame)
    (row,) = [row for row in result["rows"] if row["model"] == encoder]
    assert row["total_gmacs"] == pytest.approx(sum(macs) / 1e9)


def test_result_file_must_be_json(tmp_path, error_of):
    line = error_of(models.main, ["--json", str(tmp_path / "models.txt")])
    assert "must end in .json" in line
    assert not list(tmp_path.iterdir())

"""Collapsed maps are detected, and reported once per epoch."""

import pytest
import torch

from colocam.cli.train import main
from colocam.evaluation.metric_names import FOREGROUND_SHARE, ONE_SIDED
from colocam.training.localizer import collapse
from colocam.training.localizer.collapse import collapse_metrics, collapse_warning


def maps_of(*shares):
    """(B, 2, 4, 5) logits whose S¹ is that of each share everywhere."""
    values = torch.tensor(shares)
    maps = torch.stack([torch.zeros_like(values), torch.logit(values)], 1)
    return maps.view(-1, 2, 1, 1).expand(-1, 2, 4, 5)


def test_sequence_is_one_sided_by_the_mean_of_its_frames():
    maps = maps_of(0.99, 0.97, 0.001, 0.3, 0.002, 0.001)
    sequence = torch.tensor([0, 0, 1, 1, 3, 3])  # 2 has no frame
    found = collapse_metrics(maps, sequence, 4, torch.tensor(6.0))
    mean = (0.99 + 0.97 + 0.001 + 0.3 + 0.002 + 0.001) / 6
    assert float(found[FOREGROUND_SHARE]) == pytest.approx(mean, rel=1e-5)
    assert float(found[ONE_SIDED]) == pytest.approx(4 / 6)


def test_metrics_of_parts_of_a_step_add_up():
    generator = torch.Generator().manual_seed(0)
    maps, frames = 9 * torch.randn(6, 2, 4, 5, generator=generator), torch.tensor(6.0)
    sequence = torch.tensor([0, 0, 0, 1, 1, 2])
    whole = collapse_metrics(maps, sequence, 3, frames)
    first = collapse_metrics(maps[:3], sequence[:3], 1, frames)
    second = collapse_metrics(maps[3:], sequence[3:] - 1, 2, frames)
    for name, value in whole.items():
        torch.testing.assert_close(first[name] + second[name], value)


def test_metrics_without_frames_are_finite():
    found = collapse_metrics(maps_of(0.99), torch.tensor([0]), 1, torch.tensor(0.0))
    assert all(value.isfinite() for value in found.values())


@pytest.mark.parametrize(
    ("foreground", "one_sided", "word"),
    [(0.97, 0.9, "foreground"), (0.01, 0.6, "background"), (0.97, 0.4, None), (0.3, 0.0, None)],
)
def test_warning_from_half_of_the_frames_names_the_options(foreground, one_sided, word):
    means = {FOREGROUND_SHARE: foreground, ONE_SIDED: one_sided}
    line = collapse_warning(means, joint=True)
    if word is None:
        assert line is None
        return
    assert f"{100 * one_sided:.0f} % of the frames the maps have become all {word}" in line
    assert "--coloc-weight" in line
    assert "--coloc-ramp" in line
    without_options = collapse_warning(means, joint=False)  # the joint term is not used
    assert line.startswith(without_options)
    assert "--coloc" not in without_options


def test_run_warns_once_per_epoch_of_stage_2(two_epochs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collapse, "MOST", 0.0)
    assert main([*two_epochs, "--out", str(tmp_path / "run")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "the joint term has" in line]
    assert len(lines) == 2
    assert lines[0].startswith("warning: localizer epoch 1: in 100 % of the frames")

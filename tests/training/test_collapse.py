"""Maps that go to one side are seen, and told once an epoch."""

import pytest
import torch

from colocam.cli.train import main
from colocam.evaluation.metric_names import FOREGROUND_SHARE, ONE_SIDED
from colocam.training import collapse
from colocam.training.collapse import remark, sides


def maps_of(*shares):
    """(B, 2, 4, 5) logits whose S¹ is that of each share everywhere."""
    values = torch.tensor(shares)
    maps = torch.stack([torch.zeros_like(values), torch.logit(values)], 1)
    return maps.view(-1, 2, 1, 1).expand(-1, 2, 4, 5)


def test_a_sequence_is_on_one_side_by_the_mean_of_its_frames():
    maps = maps_of(0.99, 0.97, 0.001, 0.3, 0.002, 0.001)
    sequence = torch.tensor([0, 0, 1, 1, 3, 3])  # 2 has no frame
    found = sides(maps, sequence, 4, torch.tensor(6.0))
    mean = (0.99 + 0.97 + 0.001 + 0.3 + 0.002 + 0.001) / 6
    assert float(found[FOREGROUND_SHARE]) == pytest.approx(mean, rel=1e-5)
    assert float(found[ONE_SIDED]) == pytest.approx(4 / 6)


def test_parts_of_a_step_add_up_to_the_whole():
    generator = torch.Generator().manual_seed(0)
    maps, frames = 9 * torch.randn(6, 2, 4, 5, generator=generator), torch.tensor(6.0)
    sequence = torch.tensor([0, 0, 0, 1, 1, 2])
    whole = sides(maps, sequence, 3, frames)
    first = sides(maps[:3], sequence[:3], 1, frames)
    second = sides(maps[3:], sequence[3:] - 1, 2, frames)
    for name, value in whole.items():
        torch.testing.assert_close(first[name] + second[name], value)


def test_no_frame_is_no_side():
    found = sides(maps_of(0.99), torch.tensor([0]), 1, torch.tensor(0.0))
    assert all(value.isfinite() for value in found.values())


@pytest.mark.parametrize(
    ("foreground", "one_sided", "word"),
    [(0.97, 0.9, "foreground"), (0.01, 0.6, "background"), (0.97, 0.4, None), (0.3, 0.0, None)],
)
def test_most_videos_on_one_side_are_told_with_what_to_do(foreground, one_sided, word):
    means = {FOREGROUND_SHARE: foreground, ONE_SIDED: one_sided}
    line = remark(means, joint=True)
    if word is None:
        assert line is None
        return
    assert f"{100 * one_sided:.0f} % of the frames the maps have become all {word}" in line
    assert "--coloc-weight" in line
    assert "--coloc-ramp" in line
    assert line.startswith(remark(means, joint=False))  # without what would not help
    assert "--coloc" not in remark(means, joint=False)


def test_a_run_tells_it_once_an_epoch_of_stage_2(two_epochs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collapse, "MOST", 0.0)
    assert main([*two_epochs, "--out", str(tmp_path / "run")]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "the joint term has" in line]
    assert len(told) == 2
    assert told[0].startswith("warning: localizer epoch 1: in 100 % of the frames")

"""The configuration: presets, flags, and what is refused."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from colocam.config import PRESETS, Config, parse_config
from colocam.errors import UserError

NAMES = [option.name for option in fields(Config)]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_help_text(name, capsys):
    option = next(option for option in fields(Config) if option.name == name)
    assert option.metadata["help"]
    with pytest.raises(SystemExit) as stop:
        parse_config(["--help"], cuda=False)
    assert stop.value.code == 0
    assert "--" + name.replace("_", "-") in capsys.readouterr().out


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_hold_known_options_of_the_right_kind(preset):
    config = parse_config(["--preset", preset], cuda=False)
    assert config.preset == preset
    for name, value in PRESETS[preset].items():
        assert name in NAMES
        assert getattr(config, name) == value


def test_flags_go_before_the_preset_whatever_the_order():
    for argv in (["--preset", "smoke", "--crop", "48"], ["--crop", "48", "--preset", "smoke"]):
        config = parse_config(argv, cuda=False)
        assert (config.preset, config.crop) == ("smoke", 48)
        assert config.resize == PRESETS["smoke"]["resize"]


def test_a_flag_counts_even_where_it_repeats_the_papers_value():
    assert (
        parse_config(["--preset", "smoke", "--crop", "224", "--resize", "256"], False).crop == 224
    )


def test_without_flags_the_papers_settings_stand_in_the_paper_preset():
    config = parse_config(["--preset", "paper"], cuda=False)
    assert (config.encoder, config.crop, config.batch_size, config.frames) == (
        "resnet50",
        224,
        32,
        4,
    )
    assert (config.crf_weight, config.asc_weight, config.coloc_weight) == (2e-9, 0.01, 9)


@pytest.mark.parametrize(
    ("argv", "cuda", "preset"),
    [
        ([], False, "builtin"),
        ([], True, "builtin-cuda"),
        (["--data", "d"], False, "real-cpu"),
        (["--data", "d"], True, "paper"),
        (["--preset", "smoke"], True, "smoke"),
    ],
)
def test_the_preset_follows_data_and_device(argv, cuda, preset):
    config = parse_config(argv, cuda)
    assert config.preset == preset
    assert config.out == Path("runs") / preset


def test_fcam_is_the_same_without_the_joint_term():
    config = parse_config(["--method", "fcam", "--coloc-weight", "5"], False)
    assert config.coloc_weight == 0
    assert parse_config([], False).coloc_weight > 0


def test_values_take_the_type_of_their_option():
    argv = "--data d --pl-last-epoch 3 --lr 1e-3 --seed 7 --sampling gaussian --weights f.pth"
    config = parse_config(argv.split(), False)
    assert (config.data, config.pl_last_epoch, config.lr, config.seed) == (Path("d"), 3, 1e-3, 7)
    assert (config.sampling, config.weights) == ("gaussian", "f.pth")


@pytest.mark.parametrize(
    "argv",
    [
        "--crop 0", "--batch-size 0", "--classifier-batch-size 0", "--frames -1",
        "--epochs 0", "--classifier-epochs 0",
        "--lr 0", "--lr nan", "--lr inf", "--decay 0", "--decay-every 0", "--evaluate-every 0",
        "--frame-limit 0", "--frame-limit 1.5", "--seed-foreground-share 0", "--sigma-rgb 0",
        "--seed-background-share 2", "--seed-pixels 0", "--sigma-xy -1", "--workers -1",
        "--seed -1", "--clip-seed -1", "--momentum 0", "--momentum 1", "--weight-decay -1",
        "--classifier-head-factor -1", "--coloc-weight -1", "--crf-first-epoch -1",
        "--pl-last-epoch -1", "--asc-ramp -0.5", "--crop 16",
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_by_the_name_of_its_flag(argv):
    with pytest.raises(UserError) as error:
        parse_config(argv.split(), False)
    assert str(error.value).startswith(argv.split()[0] + " ")
    assert "must" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_crop_larger_than_the_resized_frame_is_refused():
    with pytest.raises(UserError, match="--crop 100: must not exceed --resize 90"):
        parse_config(["--crop", "100", "--resize", "90"], False)


@pytest.mark.parametrize(
    "argv", ["--encoder alexnet", "--preset huge", "--epochs many", "--colour red", "stray"]
)
def test_an_argument_that_does_not_exist_is_named_in_one_line(argv):
    with pytest.raises(UserError) as error:
        parse_config(argv.split(), False)
    assert argv.split()[-1] in str(error.value)
    assert "\n" not in str(error.value)


def test_the_written_configuration_names_every_option():
    config = parse_config(["--preset", "smoke", "--data", "d", "--seed", "3"], False)
    written = json.loads(config.to_json())
    assert list(written) == NAMES
    assert (written["data"], written["seed"], written["splits"]) == ("d", 3, None)
    for name, value in written.items():
        if value is not None:
            assert type(getattr(config, name))(value) == getattr(config, name)

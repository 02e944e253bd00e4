"""Configuration of train.py: presets, options, config.json, --resume, and invalid values."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.cli.options import parse_command, parse_config
from colocam.models.encoders import ENCODERS
from colocam.runtime.distribution import ALONE
from colocam.runtime.errors import UserError
from colocam.training.config import PRESETS, Config
from colocam.training.config.stored import ADDED
from colocam.training.localizer import loss_settings
from colocam.training.run_folder import claim_folder

NAMES = [option.name for option in fields(Config)]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_help_text(name, capsys):
    option = next(option for option in fields(Config) if option.name == name)
    assert option.metadata["help"]
    with pytest.raises(SystemExit) as stop:
        parse_config(["--help-all"], cuda=False)
    assert stop.value.code == 0
    assert "--" + name.replace("_", "-") in capsys.readouterr().out


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_hold_known_options_of_the_right_kind(preset):
    config = parse_config(["--preset", preset], cuda=False)
    assert config.preset == preset
    for name, value in PRESETS[preset].items():
        assert name in NAMES
        assert getattr(config, name) == value


def test_options_override_the_preset_in_any_order():
    for argv in (["--preset", "smoke", "--crop", "48"], ["--crop", "48", "--preset", "smoke"]):
        config = parse_config(argv, cuda=False)
        assert (config.preset, config.crop) == ("smoke", 48)
        assert config.resize == PRESETS["smoke"]["resize"]


def test_an_option_equal_to_the_papers_value_overrides_the_preset():
    assert (
        parse_config(["--preset", "smoke", "--crop", "224", "--resize", "256"], False).crop == 224
    )


def test_the_paper_preset_has_the_papers_settings():
    config = parse_config(["--preset", "paper"], cuda=False)
    assert (config.encoder, config.crop, config.batch_size, config.frames) == (
        "resnet50",
        224,
        32,
        4,
    )
    assert (config.crf_weight, config.asc_weight, config.coloc_weight) == (2e-9, 0.01, 9)


def test_presets_of_real_video_train_the_head_on_imagenet_features_at_224_pixels():
    for cuda in (False, True):
        config = parse_config(["--data", "d"], cuda)
        assert (config.weights, config.crop, config.classifier_layers) == ("imagenet", 224, "head")
        assert config.epoch_steps > 1
    assert parse_config(["--data", "d"], True).encoder == "resnet50"
    assert parse_config(["--data", "d"], False).encoder == "timm:tf_efficientnet_lite0:half"


@pytest.mark.parametrize(
    ("argv", "cuda", "preset"),
    [
        ([], False, "builtin"),
        ([], True, "builtin-cuda"),
        (["--data", "d"], False, "real-cpu"),
        (["--data", "d"], True, "real"),
        (["--preset", "smoke"], True, "smoke"),
    ],
)
def test_the_preset_follows_data_and_device(argv, cuda, preset):
    config = parse_config(argv, cuda)
    assert config.preset == preset
    assert config.out == Path("runs") / preset


@pytest.mark.parametrize("method", ["fcam", "tcam", "colocam", "trcam"])
def test_per_frame_methods_have_no_joint_term_and_keep_its_weight_in_the_configuration(method):
    argv = ["--method", method, "--seed-maps", "m", "--coloc-weight", "5", "--coloc-ramp", "2"]
    config = parse_config(argv, False)
    assert config.coloc_weight == 5  # as written to config.json
    loss = loss_settings(config)
    assert loss.coloc.at(9) == (5 if method == "colocam" else 0)
    barrier = 0 if method == "trcam" else 0.01
    assert (loss.pl.at(9), loss.crf.at(9), loss.asc.at(9)) == (1.0, 2e-9, barrier)


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
        "--pl-last-epoch -1", "--asc-ramp -0.5", "--crop 16", "--accumulate 0", "--keep 0",
        "--stop-after-skips 0", "--state-every -1", "--epoch-steps 0",
        "--classifier-evaluate-every 0", "--initial-foreground -1",
        "--initial-foreground 1", "--sigma-rgb 1e-8", "--sigma-rgb 1e6", "--sigma-xy 0.01",
        "--sigma-xy 1e30",
    ],
)  # fmt: skip
def test_an_error_for_a_value_out_of_range_names_the_option(argv):
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
def test_an_unknown_argument_or_choice_is_named_in_one_line(argv):
    with pytest.raises(UserError) as error:
        parse_config(argv.split(), False)
    assert argv.split()[-1] in str(error.value)
    assert "\n" not in str(error.value)


def test_the_written_configuration_has_every_option():
    config = parse_config(["--preset", "smoke", "--data", "d", "--seed", "3"], False)
    written = json.loads(config.to_json())
    assert list(written) == NAMES
    assert (written["data"], written["seed"], written["splits"]) == ("d", 3, None)
    for name, value in written.items():
        if value is not None:
            assert type(getattr(config, name))(value) == getattr(config, name)


# ---- a configuration from a file


def written(config, folder):
    """The file config.json of a run in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.to_json())
    return folder / "config.json"


def refused(*argv):
    """Parses an invalid command line and returns its one-line error."""
    with pytest.raises(UserError) as error:
        parse_command([str(argument) for argument in argv], False)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_written_preset_is_read_unchanged_except_for_its_run_folder(tmp_path, preset, cuda):
    config = parse_config(["--preset", preset, "--out", str(tmp_path / "run")], False)
    command = parse_command(["--config", str(written(config, tmp_path / "run"))], cuda)
    assert replace(command.config, out=config.out) == config
    assert command.config.out == Path("runs") / preset
    assert (command.resume, command.changed) == (False, {})


BOUNDS = {
    "crop": (32, 64), "resize": (64, 90), "frame_limit": (0.1, 1.0), "momentum": (0.1, 0.9),
    "seed_foreground_share": (0.1, 1.0), "seed_background_share": (0.1, 1.0),
    "tag_threshold": (0.0, 1.0), "initial_foreground": (0.01, 0.9),
    "sigma_rgb": (0.1, 10**4), "sigma_xy": (0.1, 10**4),
}  # fmt: skip


def values_of(option):
    """Strategy for the values of an option, within bounds valid for all options at once."""
    kind = option.type
    if option.name == "preset":
        return st.sampled_from(sorted(PRESETS))
    if option.name == "encoder":
        return st.sampled_from(list(ENCODERS)) | st.text(min_size=1).map("timm:{}".format)
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    low, high = BOUNDS.get(option.name, (1, 10**6))
    numbers = {
        int: st.integers(low, high),
        float: st.floats(low, high),
        str: st.text(),
        Path: st.text("abcé/. ", min_size=1).map(Path),
    }
    optional = [part for part in get_args(kind) if part is not type(None)]
    return st.none() | numbers[optional[0]] if optional else numbers[kind]


def consistent(values):
    """Configuration of these values without options that exclude each other."""
    if values["method"] == "tcam":
        values |= {"sampling": "adjacent", "direction": "before"}
    if values["method"] == "trcam":
        values |= {"seed_maps": Path("maps"), "tag_weighting": "off"}
    if values["cam"] == "cam":
        values["cam_layer"] = "last"
    if values["weights"] == "none":
        values["classifier_layers"] = "all"
    return Config(**values)


@given(st.fixed_dictionaries({o.name: values_of(o) for o in fields(Config)}).map(consistent))
@settings(deadline=None, max_examples=60)
def test_any_configuration_is_read_as_written(tmp_path_factory, config):
    folder = tmp_path_factory.mktemp("any")
    config = replace(config, out=folder / "run")
    again = parse_config(
        ["--config", str(written(config, folder)), "--out", str(config.out)], False
    )
    assert again == config
    for name in NAMES:
        assert type(getattr(again, name)) is type(getattr(config, name))
    assert again.to_values() == config.to_values() == json.loads(config.to_json())


def test_options_override_the_file_and_the_file_overrides_its_preset(tmp_path):
    config = parse_config(["--preset", "smoke", "--crop", "48", "--lr", "0.5"], False)
    file = written(config, tmp_path)
    again = parse_config(["--lr", "0.25", "--config", str(file), "--out", "o"], False)
    assert again == replace(config, lr=0.25, out=Path("o"))


def test_options_missing_from_the_file_come_from_its_preset(tmp_path):
    file = tmp_path / "some.json"
    file.write_text('{"preset": "smoke", "epochs": 5, "lr": 1, "pl_last_epoch": null}')
    config = parse_config(["--config", str(file)], True)
    expected = parse_config(["--preset", "smoke", "--epochs", "5", "--lr", "1"], True)
    assert config == expected
    assert isinstance(config.lr, float)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_of_any_editor_is_read(tmp_path, encoding):
    """With a byte order mark, CRLF, and letters beyond ASCII."""
    file = tmp_path / "run" / "config.json"
    config = parse_config(["--preset", "smoke", "--data", "Möwe 鳥", "--out", "o"], False)
    text = json.dumps(config.to_values(), ensure_ascii=False, indent=1)
    file.parent.mkdir()
    file.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert parse_config(["--config", str(file), "--out", "o"], False) == config
    resumed = parse_config(["--resume", "--out", str(file.parent)], False)
    assert resumed == replace(config, out=file.parent)


GOOD = {"preset": "smoke", "seed": 3}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("preset: smoke", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        ("[]", "contains no options"),
        ("3", "contains no options"),
        ("{}", "unknown preset None"),
        ('{"preset": "huge"}', "unknown preset 'huge'"),
        ('{"preset": ["smoke"]}', "unknown preset ['smoke']"),
        (GOOD | {"colour": "red"}, "unknown option 'colour'"),
        (GOOD | {"line\nbreak": 1}, "unknown option"),
        (GOOD | {"epochs": "5"}, "epochs cannot be '5'"),
        (GOOD | {"epochs": 5.0}, "epochs cannot be 5.0"),
        (GOOD | {"epochs": True}, "epochs cannot be True"),
        (GOOD | {"epochs": None}, "epochs cannot be None"),
        (GOOD | {"epochs": [5]}, "epochs cannot be [5]"),
        (GOOD | {"pl_last_epoch": "3"}, "pl_last_epoch cannot be '3'"),
        (GOOD | {"lr": "fast"}, "lr cannot be 'fast'"),
        (GOOD | {"lr": False}, "lr cannot be False"),
        (GOOD | {"lr": 10**400}, "lr is too large"),
        (GOOD | {"data": 3}, "data cannot be 3"),
        (GOOD | {"weights": None}, "weights cannot be None"),
        (GOOD | {"encoder": "alexnet"}, "encoder cannot be 'alexnet'"),
        (GOOD | {"encoder": ["resnet18"]}, "encoder cannot be ['resnet18']"),
    ],
)
def test_an_invalid_configuration_file_is_named_in_one_line(tmp_path, content, what):
    file = tmp_path / "config.json"
    text = json.dumps(content) if isinstance(content, dict) else content
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for argv in (["--config", file], ["--resume", "--out", tmp_path]):
        message = refused(*argv)
        assert message.startswith(f"{file}: ")
        assert what in message


@pytest.mark.parametrize("values", [{"lr": float("nan")}, {"lr": float("inf")}, {"epochs": 0}])
def test_an_error_for_a_value_out_of_range_in_a_file_names_the_option(tmp_path, values):
    (tmp_path / "config.json").write_text(json.dumps(GOOD | values))
    (name,) = values
    assert refused("--config", tmp_path / "config.json", "--out", "o").startswith(f"--{name} ")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        message = refused("--config", path)
        assert message.startswith(f"{path}: cannot be read")
        assert "config.json of a run" in message


def test_options_that_exclude_each_other_are_an_error(tmp_path):
    file = written(parse_config(["--preset", "smoke"], False), tmp_path)
    assert "--preset" in refused("--config", file, "--preset", "smoke")
    message = refused("--config", file, "--resume")
    assert "--resume" in message
    assert "--config" in message
    assert refused("--overwrite", "--resume").startswith(
        "--overwrite: deletes the run that --resum"
    )


def test_a_run_is_repeated_in_its_own_folder_only_with_out(tmp_path, monkeypatch):
    """Without --out both runs have the run folder of their preset."""
    monkeypatch.chdir(tmp_path)
    config = parse_config(["--preset", "smoke"], False)
    file = written(config, config.out)
    with claim_folder(parse_command(["--config", str(file)], False).destination, ALONE) as out:
        assert out == Path("runs/smoke-2")
    assert parse_config(["--config", str(file), "--out", str(config.out)], False) == config
    assert parse_config(["--config", str(file), "--out", "other"], False).out == Path("other")


# ---- resuming a run


@pytest.fixture
def run(tmp_path):
    """A run's folder and its configuration, which is not its preset's."""
    argv = ["--preset", "smoke", "--lr", "0.5", "--data", "d", "--out", str(tmp_path / "run")]
    config = parse_config(argv, False)
    written(config, tmp_path / "run")
    return tmp_path / "run", config


def test_resume_reads_the_configuration_of_the_run_folder(run):
    out, config = run
    for more in ([], ["--preset", "smoke"], ["--lr", "0.5", "--data", "d"]):
        command = parse_command(["--resume", "--out", str(out), *more], True)
        assert command.config == config
        assert command.resume
        assert command.changed == {}


def test_resume_uses_the_run_folder_of_its_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = parse_config(["--preset", "smoke", "--seed", "4"], False)
    written(config, config.out)
    assert parse_command(["--resume", "--preset", "smoke"], True).config == config


@pytest.mark.parametrize("flag", [["--resume"], ["--stage", "localizer"]])
def test_a_run_that_is_continued_without_out_is_the_latest_of_its_preset(
    tmp_path, monkeypatch, flag
):
    monkeypatch.chdir(tmp_path)
    argv = ["--preset", "smoke", *flag]
    assert parse_config(argv, False).out == Path("runs/smoke")
    for name in ("smoke", "smoke-9", "smoke-10", "smoke-cuda-11", "smoke-1", "smoke-012"):
        written(parse_config(["--preset", "smoke"], False), tmp_path / "runs" / name)
    (tmp_path / "runs" / "smoke-11").mkdir()
    command = parse_command(argv, False)
    assert command.config.out == command.destination.out == Path("runs/smoke-10")
    assert command.destination.fixed


def test_resume_returns_the_options_that_the_command_line_changes(run):
    out, config = run
    argv = ["--resume", "--out", str(out), "--lr", "0.25", "--epochs", "9", "--seed", "0"]
    command = parse_command(argv, False)
    assert command.config == replace(config, lr=0.25, epochs=9)
    assert command.changed == {"lr": (0.5, 0.25), "epochs": (2, 9)}


def test_resume_continues_in_a_moved_folder(run, tmp_path):
    out, config = run
    out.rename(tmp_path / "moved")
    command = parse_command(["--resume", "--out", str(tmp_path / "moved")], False)
    assert command.config == replace(config, out=tmp_path / "moved")
    assert command.changed in ({}, {"out": (out, tmp_path / "moved")})


def test_resume_returns_a_changed_preset(run):
    out, _ = run
    command = parse_command(["--resume", "--out", str(out), "--preset", "builtin"], False)
    assert command.changed["preset"] == ("smoke", "builtin")


def test_resume_in_a_folder_without_a_run_starts_a_run(tmp_path):
    argv = ["--preset", "smoke", "--out", str(tmp_path)]
    command = parse_command(["--resume", *argv], False)
    assert command.config == parse_config(argv, False)
    assert (command.resume, command.changed) == (True, {})


def test_options_that_an_earlier_version_lacked_keep_their_implicit_values(tmp_path):
    config = Config.of_preset("real-cpu", {"out": tmp_path / "run"})
    old = {name: value for name, value in config.to_values().items() if name not in ADDED}
    (tmp_path / "config.json").write_text(json.dumps(old))
    read = parse_config(["--config", str(tmp_path / "config.json"), "--out", "x"], False)
    assert {name: getattr(read, name) for name in ADDED} == ADDED
    (tmp_path / "config.json").write_text('{"preset": "real-cpu", "lr": 0.5}')  # some options
    read = parse_config(["--config", str(tmp_path / "config.json"), "--out", "x"], False)
    assert read.classifier_layers == "head"


def test_random_weights_need_all_layers_to_be_trained():
    with pytest.raises(UserError, match=r"--weights none: .*add --classifier-layers all"):
        parse_config(["--preset", "real-cpu", "--weights", "none"], False)
    argv = ["--preset", "real-cpu", "--weights", "none", "--classifier-layers", "all"]
    assert parse_config(argv, False).classifier_layers == "all"

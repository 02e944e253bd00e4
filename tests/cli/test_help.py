"""Help of the commands: groups, defaults of the preset, and the width of the terminal."""

import re
from dataclasses import fields

import pytest

from colocam.cli.evaluate import main as evaluate
from colocam.cli.localize import main as localize
from colocam.cli.options import GROUPS, parse_command
from colocam.cli.seed_maps import main as seed_maps
from colocam.cli.train import main as train
from colocam.runtime.errors import UserError
from colocam.training.config import Config

COMMANDS = {"train": train, "evaluate": evaluate, "localize": localize, "seed_maps": seed_maps}


@pytest.fixture
def shown(capsys):
    """Parses a command line of train.py with --help or --help-all and returns the help."""

    def text(*argv, cuda=False):
        with pytest.raises(SystemExit) as stop:
            parse_command(argv, cuda)
        assert stop.value.code == 0
        return capsys.readouterr().out

    return text


def options_in(text):
    return set(re.findall(r"^  (?:-h, )?--([a-z-]+)", text, re.MULTILINE))


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "--help-all"])
def test_help_fits_the_terminal(command, columns, flag, monkeypatch, capsys):
    if flag == "--help-all" and command != "train":
        flag = "-h"
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as stop:
        COMMANDS[command]([flag])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0].startswith("usage: ")
    assert not any(re.search(r"\w-$", line) for line in lines)  # options are not broken at hyphens
    assert not any("None" in line for line in lines)


def test_help_lists_the_main_options_and_help_all_every_option(shown):
    every = {option.name.replace("_", "-") for option in fields(Config)}
    every |= {"config", "resume", "overwrite", "help", "help-all"}
    main, all_options = options_in(shown("--help")), options_in(shown("--help-all"))
    assert all_options == every
    assert main < every
    assert 15 <= len(main) <= 31
    assert {"preset", "data", "out", "stage", "method", "encoder", "epochs"} <= main
    assert {"config", "resume", "overwrite"} <= main
    assert f"--help-all lists all {len(every)} options" in shown("--help")


def test_options_of_the_run_folder_are_beside_each_other(shown):
    text = shown("--help")
    first = text[: text.index("\ndata:")]
    assert {"out", "config", "resume", "overwrite"} <= options_in(first)


def test_every_option_is_in_a_group(shown):
    assert {option.metadata["group"] for option in fields(Config)} == {"options", *GROUPS}
    headings = re.findall(r"^(\S.*):$", shown("--help-all"), re.MULTILINE)
    assert headings == ["options", *GROUPS.values()]


@pytest.mark.parametrize(
    ("argv", "cuda", "preset", "crop"),
    [
        ([], False, "preset builtin (chosen: without --data, without a GPU)", 80),
        (["--data", "d"], False, "preset real-cpu (chosen: with --data, without a GPU)", 224),
        (["--data", "d"], True, "preset real (chosen: with --data, with a GPU)", 224),
        (["--preset", "smoke", "--crop", "48"], True, "preset smoke;", 64),
    ],
)
def test_defaults_are_those_of_the_preset(shown, argv, cuda, preset, crop):
    for text in (shown(*argv, "--help", cuda=cuda), shown("--help-all", *argv, cuda=cuda)):
        joined = " ".join(text.split())
        assert f"The defaults below are those of {preset}" in joined
        assert (
            f"side of the random crop and of evaluated frames, pixels (default: {crop})" in joined
        )


def test_defaults_are_those_of_a_configuration_file(shown, tmp_path):
    (tmp_path / "config.json").write_text('{"preset": "smoke", "lr": 0.125}')
    joined = " ".join(shown("--config", str(tmp_path / "config.json"), "--help").split())
    assert "config.json; --preset NAME" in joined
    assert "learning rate (default: 0.125)" in joined


def test_help_goes_before_unknown_options_and_an_invalid_preset_before_help(shown):
    assert "usage" in shown("--unknown", "--help")
    with pytest.raises(UserError, match="huge"):
        parse_command(["--preset", "huge", "--help"], False)

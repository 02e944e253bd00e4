"""Processes of a run: what the environment must hold, and what is waited for."""

import socket
import time

import pytest
import torch.distributed as dist

from colocam.cli.train import main as train
from colocam.runtime import distribution
from colocam.runtime.distribution import ALONE, join_ranks
from colocam.runtime.errors import UserError

COMPLETE = {
    "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29501",
}  # fmt: skip


@pytest.fixture
def environment(monkeypatch):
    """Sets the variables of torchrun, and only these."""

    def give(variables):
        for name in COMPLETE:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return give


@pytest.fixture
def connections(monkeypatch):
    """Replaces the connection; what it was called with."""
    calls = []
    monkeypatch.setattr(dist, "init_process_group", lambda *given, **named: calls.append(given))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    return calls


def refused():
    with pytest.raises(UserError) as error, join_ranks("cpu"):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "variables",
    [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": ""}, {"RANK": "0"}, COMPLETE | {"WORLD_SIZE": "1"}],
)
def test_one_process_needs_no_other_variable(environment, connections, variables):
    environment(variables)
    with join_ranks("cpu") as ranks:
        assert ranks == ALONE
    assert connections == []


def test_ranks_are_those_of_the_environment(environment, connections):
    environment(COMPLETE)
    with join_ranks("cpu") as ranks:
        assert (ranks.rank, ranks.world, ranks.local) == (1, 2, 0)
    assert connections == [("gloo",)]


@pytest.mark.parametrize("name", [name for name in COMPLETE if name != "WORLD_SIZE"])
def test_a_missing_variable_is_named(environment, connections, name):
    for value in (None, ""):
        variables = {key: text for key, text in COMPLETE.items() if key != name}
        environment(variables | ({} if value is None else {name: value}))
        assert refused() == (
            f"WORLD_SIZE=2, but {name} not set: start the processes with torchrun, or unset "
            "WORLD_SIZE to run a single one"
        )
    assert connections == []


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"])
@pytest.mark.parametrize("value", ["x", "-1", "1.5", " 2"])
def test_a_variable_that_is_not_a_number_is_named(environment, connections, name, value):
    environment(COMPLETE | {name: value})
    assert refused() == f"{name}={value}: is not a number; start the processes with torchrun"


def test_a_rank_out_of_range_is_named(environment, connections):
    environment(COMPLETE | {"RANK": "2"})
    assert refused() == "RANK=2: must be less than WORLD_SIZE=2"


def test_the_command_ends_with_one_line(environment, tmp_path, capsys):
    environment({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"})
    assert train(["--preset", "smoke", "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "MASTER_ADDR, MASTER_PORT not set" in line
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_in_use_is_named(environment):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        environment(COMPLETE | {"RANK": "0", "MASTER_PORT": port})
        message = refused()
    assert message.startswith("MASTER_ADDR, MASTER_PORT: the processes cannot connect at 127.0.0.")
    assert port in message


@pytest.mark.parametrize(("rank", "others"), [("0", "the other pro"), ("1", "process 0 and the")])
def test_processes_that_do_not_come_are_waited_for_in_lines(
    environment, monkeypatch, capsys, rank, others
):
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: time.sleep(0.5))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(distribution, "_REPORT_SECONDS", 0.2)
    environment(COMPLETE | {"RANK": rank})
    with join_ranks("cpu"):
        lines = capsys.readouterr().err.splitlines()
        time.sleep(0.3)
    assert len(lines) == 2
    for minutes, line in enumerate(lines, start=1):
        assert line.startswith(f"process {rank} of 2: waiting for {others}")
        assert line.endswith(f"at 127.0.0.1:29501 since {minutes} min")
    assert capsys.readouterr().err == ""  # all have come


def test_one_process_of_a_machine_prints_what_is_waited_for(environment, monkeypatch, capsys):
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: time.sleep(0.1))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(distribution, "_REPORT_SECONDS", 0.01)
    environment(COMPLETE | {"LOCAL_RANK": "1"})
    with join_ranks("cpu"):
        assert capsys.readouterr().err == ""

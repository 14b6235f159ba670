"""Processes meet before their group is made: who does not come is named, and a request to stop is served while they wait."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from redheart.cli.parser import parse_arguments
from redheart.errors import Interrupted, MissingRequirement, UsageError
from redheart.launching import rendezvous
from redheart.launching.ports import free_port
from redheart.launching.rendezvous import _Meeting, gathered
from redheart.messages import set_language
from tests.launching.stand_ins import PROJECT


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What was said while they waited."""
    lines: list[dict[str, object]] = []
    monkeypatch.setattr(rendezvous, "warn_even_if_quiet", lambda key, **values: lines.append(values))
    return lines


def place(
    monkeypatch: pytest.MonkeyPatch, rank: int, size: int, *, host: str = "127.0.0.1", port: int | None = None
) -> int:
    port = port or free_port()
    for name in ("TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": host}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_PORT", str(port))
    return port


def meeting(
    monkeypatch: pytest.MonkeyPatch,
    rank: int,
    size: int,
    port: int,
    within: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> _Meeting:
    place(monkeypatch, rank, size, port=port)
    return _Meeting(should_stop, within)


def test_processes_that_all_come_meet_without_a_word(monkeypatch: pytest.MonkeyPatch, told: list[object]) -> None:
    port = free_port()
    meetings = [meeting(monkeypatch, rank, 3, port, 30.0) for rank in (2, 0, 1)]
    with ThreadPoolExecutor(3) as threads:
        stores = list(threads.map(lambda one: one.meet(), meetings))
    assert len(stores) == 3 and told == []


def test_the_first_names_those_that_did_not_come(
    monkeypatch: pytest.MonkeyPatch, told: list[dict[str, object]]
) -> None:
    monkeypatch.setattr(rendezvous, "SAID_AFTER", 0.2)
    port = free_port()
    first, third = meeting(monkeypatch, 0, 4, port, 1.0), meeting(monkeypatch, 2, 4, port, 2.0)
    with ThreadPoolExecutor(2) as threads:
        ends = [threads.submit(one.meet) for one in (first, third)]
        with pytest.raises(
            MissingRequirement, match=r"process 0 of 4 waited 1 s at 127\.0\.0\.1:\d+ for 1, 3, in vain"
        ):
            ends[0].result()
        with pytest.raises(MissingRequirement, match=r"process 2 of 4 (waited 2 s|lost process 0)"):
            ends[1].result()
    said = next(line for line in told if line["rank"] == 0)
    assert said["who"] == "1, 3" and said["place"] == f"127.0.0.1:{port}" and "unset RANK" in str(said["cure"])
    assert re.fullmatch(r"\d\d:\d\d:\d\d", str(said["until"]))


def test_another_names_the_first_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, 3, 4)
    with pytest.raises(MissingRequirement, match=r"process 3 of 4 waited .* for 0, in vain"), gathered(within=0.3):
        pytest.fail("it is alone")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_request_to_stop_is_served_while_it_waits(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    place(monkeypatch, rank, 2)
    questions = iter([False, False, True])
    with pytest.raises(Interrupted, match="nothing was begun"), gathered(lambda: next(questions)):
        pytest.fail("it is alone")


def test_a_port_that_another_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = place(monkeypatch, 0, 2, port=other.getsockname()[1])
        with (
            pytest.raises(MissingRequirement, match=rf"127\.0\.0\.1:{port} .* is taken by another process"),
            gathered(),
        ):
            pytest.fail("it has no port")


def test_a_host_that_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, 0, 2, host="no such host")
    with pytest.raises(UsageError, match=r"found MASTER_ADDR=no such host .* unset RANK"), gathered():
        pytest.fail("there is no host")


@pytest.mark.parametrize("agent", [True, False])
def test_alone_or_where_an_agent_found_all_it_does_not_wait(monkeypatch: pytest.MonkeyPatch, agent: bool) -> None:
    place(monkeypatch, 0, 2 if agent else 1)
    if agent:
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setattr(rendezvous, "_Meeting", lambda *_: pytest.fail("it waits"))
    with gathered():
        pass


def test_the_group_is_made_in_the_store_at_which_they_met() -> None:
    program = (
        "import torch, torch.distributed as dist\nfrom redheart.launching.rendezvous import gathered\n"
        "with gathered(within=60.0):\n    dist.init_process_group('gloo')\n"
        "value = torch.ones(1)\ndist.all_reduce(value)\nprint(int(value))\ndist.destroy_process_group()"
    )
    port = free_port()
    group = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                **{"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)},
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            },
        )
        for rank in (0, 1)
    ]
    assert [process.communicate(timeout=120)[0] for process in group] == ["2\n", "2\n"]


def test_a_number_that_a_launcher_puts_before_the_command_is_taken_where_its_environment_says_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    for written in ("--local_rank=1", "--local-rank=1"):
        assert parse_arguments([written, "train", "--epochs", "2"]).epochs == 2
    for value, found in (("0", "LOCAL_RANK=1"), ("x", "LOCAL_RANK=1"), ("0", "no LOCAL_RANK")):
        if found.startswith("no"):
            monkeypatch.delenv("LOCAL_RANK")
        with pytest.raises(SystemExit) as ended:
            parse_arguments([f"--local_rank={value}", "train"])
        said = capsys.readouterr().err
        assert ended.value.code == 2 and f"found --local_rank={value} and, in the environment, {found}" in said
    with pytest.raises(SystemExit):
        parse_arguments(["train", "--help"])
    assert "local" not in capsys.readouterr().out


def test_the_line_is_there_in_both_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    from redheart.messages import text

    for language in ("ko", "en"):
        set_language(language)
        said = text(
            "launching.waiting", rank=0, size=4, who="1, 2, 3", place="a:1", until="12:00:00", cure="unset RANK"
        )
        assert all(word in said for word in ("1, 2, 3", "a:1", "12:00:00", "unset RANK"))

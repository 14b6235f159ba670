"""The supervisor hands signals on, ends what is left, starts again where that is the remedy, and ends with the outcome of its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from redheart.errors import (
    ConfigError,
    Interrupted,
    MissingRequirement,
    OutOfMemory,
    RedHeartError,
    StartAgain,
    StorageError,
    TrainingError,
)
from redheart.facts.launches import read_launches
from redheart.launching import group, supervisor
from redheart.launching.supervisor import Supervisor
from tests.launching.stand_ins import PROJECT, StandIn


def supervise(
    stand_in: StandIn,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    stop_with: int = signal.SIGTERM,
    restarts: int = 3,
) -> None:
    Supervisor(
        stand_in, stand_in.folder, restarts=restarts, should_stop=should_stop, stop_with=lambda: stop_with, grace=0.3
    ).run()
    assert_none_is_left(stand_in)


def assert_none_is_left(stand_in: StandIn, within: float = 0.0) -> None:
    give_up = time.monotonic() + within
    while (left := [pid for pid in stand_in.pids() if lives(pid)]) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert left == []


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # that is for the system's first process to collect
    except psutil.NoSuchProcess:
        return False


def ends_with(kind: type[RedHeartError], stand_in: StandIn, **how: object) -> str:
    with pytest.raises(kind) as found:
        supervise(stand_in, **how)  # type: ignore[arg-type]
    assert type(found.value) is kind
    assert_none_is_left(stand_in)
    return str(found.value)


def test_a_group_that_does_its_work_is_started_once(tmp_path: Path) -> None:
    stand_in = StandIn(tmp_path, "serve()")
    supervise(stand_in)
    assert stand_in.lines == [[]]
    assert len(stand_in.pids()) == 2
    assert read_launches(tmp_path).events == ()


STOPPED_SLOWLY = """
serve()
(folder / f"ready.{rank}").touch()
while not asked:
    time.sleep(0.01)
if rank == 0:
    time.sleep(1.5)
(folder / f"saved.{rank}").touch()
raise Interrupted("stopped")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_request_to_stop_goes_to_each_process_once_and_all_may_save_for_as_long_as_they_need(
    tmp_path: Path, number: signal.Signals
) -> None:
    stand_in = StandIn(tmp_path, STOPPED_SLOWLY)
    message = ends_with(
        Interrupted, stand_in, should_stop=lambda: (tmp_path / "ready.0").exists(), stop_with=int(number)
    )
    assert "goes on from there" in message
    for rank in (0, 1):
        assert (tmp_path / f"saved.{rank}").exists()
        assert (tmp_path / f"asked.{rank}").read_text() == str([int(number)])


def test_a_process_that_is_not_ready_gets_the_request_once_it_is(tmp_path: Path) -> None:
    stand_in = StandIn(tmp_path, f"if rank == 1:\n    time.sleep(0.5)\n{STOPPED_SLOWLY.strip()}")
    ends_with(Interrupted, stand_in, should_stop=lambda: bool(list(tmp_path.glob("starts/0.*"))))
    assert (tmp_path / "saved.0").exists() and (tmp_path / "saved.1").exists()


def test_a_signal_to_all_that_is_there_ends_neither_launcher_nor_who_is_not_ready(tmp_path: Path) -> None:
    """As a scheduler sends it: to every process of a job."""
    program = (
        "if rank == 0:\n    os.kill(os.getppid(), signal.SIGTERM)\n    os.kill(os.getpid(), signal.SIGTERM)\nserve()"
    )
    supervise(StandIn(tmp_path, program))


def test_a_process_that_is_killed_while_it_should_save_asks_for_the_same_command_again(tmp_path: Path) -> None:
    program = "serve()\n(folder / f'ready.{rank}').touch()\nwhile not asked: time.sleep(0.01)\nif rank: die()\nhang()"
    message = ends_with(StartAgain, StandIn(tmp_path, program), should_stop=lambda: (tmp_path / "ready.1").exists())
    assert "process 1 ended before it had saved" in message
    assert StartAgain.exit_code == 75


def test_one_that_runs_out_of_memory_has_all_started_again_with_the_next_smaller_micro_batch(tmp_path: Path) -> None:
    program = """
serve()
if start == 0:
    short(8, 4) if rank == 1 else hang()
if start == 1:
    short(4, 2) if rank == 0 else hang()
"""
    stand_in = StandIn(tmp_path, program)
    supervise(stand_in)
    cut = "training.gradient_accumulation_steps=null"
    assert [[word for word in line if "=" in word] for line in stand_in.lines] == [
        [],
        ["training.micro_batch_size=4", cut],
        ["training.micro_batch_size=2", cut],
    ]
    first, second = read_launches(tmp_path).events
    assert (first.cause, first.rank, first.step, first.micro_batch_size) == ("out_of_memory", 1, 7, 8)
    assert (first.smaller_micro_batch_size, first.is_again, first.message) == (4, True, "no room for 2 GiB")
    assert (second.rank, second.smaller_micro_batch_size) == (0, 2)


def test_where_nothing_smaller_is_left_it_ends_as_out_of_memory(tmp_path: Path) -> None:
    message = ends_with(OutOfMemory, StandIn(tmp_path, "serve()\nshort(1, None) if rank == 1 else hang()"))
    assert "process 1 ran out of memory with a micro-batch of one situation, at step 7: no room for 2 GiB" in message
    (event,) = read_launches(tmp_path).events
    assert not event.is_again


def test_one_that_ran_out_of_memory_before_any_step_is_not_started_again(tmp_path: Path) -> None:
    stand_in = StandIn(tmp_path, "serve()\nraise MemoryError")
    assert "before the first step" in ends_with(OutOfMemory, stand_in)
    assert len(stand_in.lines) == 1


def test_a_killed_process_has_all_started_again_and_is_known_by_its_number(tmp_path: Path) -> None:
    stand_in = StandIn(tmp_path, "serve()\nif start == 0:\n    die() if rank == 1 else hang()")
    supervise(stand_in)
    assert len(stand_in.lines) == 2
    (event,) = read_launches(tmp_path).events
    assert (event.cause, event.rank, event.is_again) == ("killed", 1, True)


def test_a_process_that_is_killed_again_and_again_without_a_newer_state_is_given_up(tmp_path: Path) -> None:
    stand_in = StandIn(tmp_path, "serve()\ndie() if rank == 0 else hang()")
    message = ends_with(TrainingError, stand_in, restarts=2)
    assert "process 0 was killed" in message and "3 times without a newer state" in message
    assert len(stand_in.lines) == 3
    assert [event.is_again for event in read_launches(tmp_path).events] == [True, True, False]


def test_kills_are_counted_anew_after_a_newer_state_and_then_the_same_command_helps(tmp_path: Path) -> None:
    """Two in a row are one too many: after the state of the third start one more is allowed."""
    stand_in = StandIn(tmp_path, "serve()\nif start == 1 and rank == 0:\n    state(1)\nif rank == 0: die()\nhang()")
    message = ends_with(StartAgain, stand_in, restarts=1)
    assert len(stand_in.lines) == 3 and "has come on" in message


def test_a_process_that_fails_gives_its_exit_code_and_is_not_started_again(tmp_path: Path) -> None:
    for number, (error, code) in enumerate([(ConfigError, 2), (StorageError, 4), (TrainingError, 5)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        stand_in = StandIn(
            folder, f"serve()\nif rank == 1: hang()\ntime.sleep(0.2)\nraise {error.__name__}('so it was')"
        )
        with pytest.raises(RedHeartError) as found:
            supervise(stand_in)
        assert found.value.exit_code == code and "process 0" in str(found.value)
        assert len(stand_in.lines) == 1
        assert_none_is_left(stand_in)


def test_what_is_left_after_a_failure_is_ended_within_seconds_also_where_it_serves_no_signal(tmp_path: Path) -> None:
    started = time.monotonic()
    stand_in = StandIn(tmp_path, "serve()\nif rank == 0: raise RuntimeError('a surprise')\nwhile True: time.sleep(60)")
    message = ends_with(RedHeartError, stand_in)
    assert "exit code 1" in message and time.monotonic() - started < 10


def test_one_that_is_killed_is_the_cause_of_what_the_others_say(tmp_path: Path) -> None:
    program = "serve()\nif start == 0:\n    if rank == 1: die()\n    time.sleep(0.05)\n    raise RuntimeError('closed by peer')"
    stand_in = StandIn(tmp_path, program)
    supervise(stand_in)
    assert [event.cause for event in read_launches(tmp_path).events] == ["killed"]


def test_a_port_that_is_taken_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        taken = other.getsockname()[1]
        stand_in = StandIn(tmp_path, "serve()", port=taken, needs_port=True)
        supervise(stand_in)
        assert len(stand_in.lines) == 2
        (event,) = read_launches(tmp_path).events
        assert (event.cause, event.message) == ("port_taken", f"port {taken} is taken")
        monkeypatch.setattr(supervisor, "free_port", lambda: taken)
        again = StandIn(tmp_path, "serve()", port=taken, needs_port=True)
        with pytest.raises(MissingRequirement, match="5 ports were taken"):
            supervise(again)


def test_a_start_that_takes_a_finished_run_away_forces_nothing_when_it_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("the older run")
    program = "serve()\nif start == 0: die()\nif start == 1 and rank == 0:\n    (folder / 'run.json').write_text('ours')\n    die()"
    stand_in = StandIn(tmp_path, program)
    supervise(stand_in)
    assert [line for line in stand_in.lines] == [["--force"], ["--force"], []]


def test_a_second_request_by_ctrl_c_kills_all(tmp_path: Path) -> None:
    def twice() -> bool:
        if (tmp_path / "starts").exists() and len(list((tmp_path / "starts").iterdir())) == 2:
            raise KeyboardInterrupt
        return False

    stand_in = StandIn(tmp_path, "serve()\nhang()")
    with pytest.raises(KeyboardInterrupt):
        supervise(stand_in, should_stop=twice)
    assert_none_is_left(stand_in)


def test_no_process_lives_on_without_its_supervisor(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\nfrom tests.launching.stand_ins import StandIn\n"
        "from redheart.launching.supervisor import Supervisor\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "text = 'serve()\\nwhile not asked: time.sleep(0.01)\\nraise Interrupted(\"\")'\n"
        "Supervisor(StandIn(folder, text), folder).run()\n"
    )
    started = subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, env=dict(os.environ))
    stand_in = StandIn(tmp_path, "")
    give_up = time.monotonic() + 30
    while len(list(tmp_path.glob("starts/*"))) < 2 and time.monotonic() < give_up:
        time.sleep(0.02)
    time.sleep(0.3)
    started.kill()
    started.wait()
    assert len(stand_in.pids()) == 2
    assert_none_is_left(stand_in, within=10)
    assert (tmp_path / "asked.0").exists(), "it was asked to save first"


def test_one_that_serves_no_signal_is_ended_too_when_its_supervisor_is_gone(tmp_path: Path) -> None:
    """A process within a collective operation."""
    from redheart.launching.outcome import LaunchFolder

    folder = LaunchFolder(tmp_path)
    os.mkfifo(folder.lifeline)
    held = os.open(folder.lifeline, os.O_RDWR)
    program = (
        "import signal, time\nfrom redheart.launching import rank\nrank.GRACE = 0.2\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwith rank.reported():\n    time.sleep(60)"
    )
    environment = {**os.environ, "REDHEART_LAUNCH_FOLDER": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=PROJECT, env=environment)
    give_up = time.monotonic() + 30
    while not folder.announced() and time.monotonic() < give_up:
        time.sleep(0.02)
    time.sleep(0.3)
    assert process.poll() is None, "while it is held"
    os.close(held)
    assert process.wait(timeout=10) == 1


def test_the_folder_of_a_launch_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = tmp_path / "places"
    places.mkdir()
    monkeypatch.setattr(group.tempfile, "tempdir", str(places))
    supervise(StandIn(tmp_path, "serve()"))
    assert list(places.iterdir()) == []

"""The pool of workers: what they are told, how their death is seen, and that none is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from redheart.worker_pool import WorkerPool, WorkerProcess
from redheart.worker_pool.process import stop

ROOT = Path(__file__).parents[2]
TOY = "tests.worker_pool.toy_worker"


class Job(msgspec.Struct):
    word: str = "hello"
    grace: float = 30.0


def pool_of(folder: Path, count: int = 2, job: Job | None = None) -> WorkerPool:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RANK": "3", "WORLD_SIZE": "4", "INHERITED": "yes"}
    slots = [{"SLOT": str(number)} for number in range(count)]
    return WorkerPool(TOY, job or Job(), slots, environment, folder / "logs")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[WorkerPool]:
    with pool_of(tmp_path) as pool:
        yield pool


def answers(pool: WorkerPool, count: int) -> dict[int, dict]:
    """``count`` answers, by the number of who gave them."""
    found: dict[int, dict] = {}
    end = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < end and pool.take_dead() == []
        found |= {worker.number: json.loads(answer) for worker, answer in pool.answers(0.1)}
    return found


def ask(worker: WorkerProcess, what: str) -> None:
    worker.send(json.dumps(what).encode())


def death_in(pool: WorkerPool) -> WorkerProcess:
    end = time.monotonic() + 60
    while not (dead := pool.take_dead()):
        assert time.monotonic() < end
        pool.answers(0.05)
    (worker,) = dead
    return worker


def test_each_worker_gets_the_job_its_tasks_and_the_environment_of_its_slot(pool: WorkerPool) -> None:
    for worker in pool.workers:
        ask(worker, f"for {worker.number}")
    found = answers(pool, 2)
    assert [found[number]["asked"] for number in (0, 1)] == ["for 0", "for 1"]
    assert len({os.getpid(), *(one["pid"] for one in found.values())}) == 3
    for number, told in found.items():
        environment = told["environment"]
        assert (told["word"], told["input"]) == ("hello", "")
        assert (environment["SLOT"], environment["INHERITED"]) == (str(number), "yes")
        assert not {"RANK", "WORLD_SIZE"} & set(environment), "a worker is a single-device job"
        assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)


def test_tasks_are_done_in_their_order_and_a_worker_outlives_each(pool: WorkerPool) -> None:
    worker = pool.workers[0]
    for number in range(3):
        ask(worker, str(number))
    told: list[dict] = []
    while len(told) < 3:
        told += [json.loads(answer) for _, answer in pool.answers(1.0)]
    assert [one["asked"] for one in told] == ["0", "1", "2"] and len({one["pid"] for one in told}) == 1


def test_a_worker_that_is_killed_is_found_once_with_its_last_words_and_the_other_goes_on(pool: WorkerPool) -> None:
    dying, living = pool.workers
    ask(dying, "die")
    assert death_in(pool) is dying
    assert pool.take_dead() == [] and pool.workers == [living]
    assert dying.was_killed()
    said = dying.last_words()
    assert "worker 0 ended with signal SIGKILL: out of memory?" in said and "began with hello" in said
    ask(dying, "anything")  # what is sent to the dead is lost, and no error
    ask(living, "still there?")
    assert answers(pool, 1)[1]["asked"] == "still there?"


def test_an_error_is_the_workers_exit_code_and_the_end_of_its_log(pool: WorkerPool) -> None:
    ask(pool.workers[1], "fail")
    worker = death_in(pool)
    assert not worker.was_killed() and worker.how_it_ended() == "exit 4"
    assert worker.tail().endswith("    the toy worker fails as it was asked to")


def test_the_log_is_appended_to_and_only_this_runs_part_is_quoted(tmp_path: Path) -> None:
    for word in ("first", "second"):
        with pool_of(tmp_path, 1, Job(word)) as pool:
            ask(pool.workers[0], "fail")
            worker = death_in(pool)
    assert "first" not in worker.tail() and "began with second" in worker.tail()
    assert "began with first" in worker.log.read_text()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_whatever_happens_no_worker_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), pool_of(tmp_path) as pool:
        ask(pool.workers[0], "begin")
        answers(pool, 1)
        workers = list(pool.workers)
        raise error
    assert all(worker.process.returncode is not None for worker in workers)


def test_a_worker_that_was_asked_to_stop_ends_in_order_and_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    with pool_of(tmp_path) as pool:
        listening, hanging = pool.workers
        ask(listening, "begin")
        ask(hanging, "hang")
        answers(pool, 2)
        stop(pool.workers, grace=3.0)
        assert listening.process.returncode == 0
        assert hanging.process.returncode == -signal.SIGKILL


_PARENT = """
import json, sys, time
from pathlib import Path
from tests.worker_pool.test_pool import Job, pool_of, answers, ask
folder, what, grace = sys.argv[1:]
with pool_of(Path(folder), 2, Job(grace=float(grace))) as pool:
    for worker in pool.workers:
        ask(worker, what)
    answers(pool, 2)
    print(json.dumps([worker.process.pid for worker in pool.workers]), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("what, grace", [("begin", "600"), ("hang", "0.5")])
def test_workers_end_with_a_parent_that_was_killed_in_order_or_else_after_the_grace(
    tmp_path: Path, what: str, grace: str
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _PARENT, str(tmp_path), what, grace]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [psutil.Process(pid) for pid in json.loads(parent.stdout.readline())]
        parent.kill()
    _, alive = psutil.wait_procs(workers, timeout=20)
    for worker in alive:
        worker.kill()
    assert alive == []

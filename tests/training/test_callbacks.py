"""Callbacks are told of a run's moments in order, through a stop and a resume; and adding one touches nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from redheart.batches.out_of_memory import MemoryInUse
from redheart.checkpoint import newest_resume_state
from redheart.config import Config
from redheart.errors import Interrupted, TrainingError
from redheart.storage import read_json
from redheart.training.callbacks import progress_bar
from redheart.training.callbacks.callback import Callback, Callbacks
from redheart.training.callbacks.progress_bar import ProgressBar
from redheart.training.callbacks.run import EpochEnd, Run
from redheart.training.saving.resume_state import Cursor, Kept
from redheart.training.step_result import Step
from tests.training.runs import metrics, same_bits, train, weights

Settings = Callable[..., Config]


class Diary(Callback):
    """Writes down every moment with the place that a state would go on from, and keeps how many steps it has seen."""

    name = "diary"

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.seen = 0

    def _write(self, moment: str, run: Run) -> None:
        self.entries.append(f"{moment} {run.position.epoch}.{run.position.batches_done}")

    def before_run(self, run: Run, kept: Kept | None) -> None:
        if kept is not None:
            self.seen = kept.read(dict[str, int])["seen"]
            assert torch.equal(kept.tensors["marks"], torch.arange(float(self.seen)))
        self._write(f"before_run seen={self.seen} resumed={run.is_resumed}", run)

    def before_epoch(self, run: Run) -> None:
        self._write("before_epoch", run)

    def before_step(self, run: Run) -> None:
        self._write("before_step", run)

    def after_step(self, run: Run, step: Step) -> None:
        self.seen += 1
        assert step.global_step == run.loop.global_step == self.seen
        self._write("after_step", run)

    def after_epoch(self, run: Run, end: EpochEnd) -> None:
        assert end.evaluation.count
        self._write(f"after_epoch of={end.epoch}", run)

    def at_stop(self, run: Run) -> None:
        self._write("at_stop", run)

    def at_end(self, run: Run) -> None:
        self._write("at_end", run)

    def at_failure(self, run: Run, error: BaseException) -> None:
        self._write(f"at_failure {type(error).__name__}", run)

    def close(self, run: Run) -> None:
        self._write("close", run)

    def state(self, run: Run) -> Kept:
        return Kept({"seen": self.seen}, {"marks": torch.arange(float(self.seen))})


def steps(epoch: int, first: int, last: int) -> list[str]:
    return [
        f"{moment} {epoch}.{number if moment == 'after_step' else number - 1}"
        for number in range(first, last + 1)
        for moment in ("before_step", "after_step")
    ]


def stop_at(number: int) -> Callable[[], bool]:
    answers = iter([False] * (number - 1))
    return lambda: next(answers, True)


def test_moments_come_in_order_through_a_stop_and_a_resume_and_what_is_kept_comes_back(
    dataset: Path, settings: Settings, tmp_path: Path
) -> None:
    """Three steps per epoch; asked in the start's scoring, after steps 1 and 2, in the epoch's scoring, at its end, and so on."""
    config, first, second = settings(epochs=2), Diary(), Diary()
    with pytest.raises(Interrupted):
        train(dataset, tmp_path / "cut", config, callbacks=[first], should_stop=stop_at(1 + 2 + 2 + 1))
    assert first.entries == [
        "before_run seen=0 resumed=False 1.0",
        "before_epoch 1.0",
        *steps(1, 1, 3),
        "after_epoch of=1 2.0",
        "before_epoch 2.0",
        *steps(2, 1, 1),
        "at_stop 2.1",
        "close 2.1",
    ]
    train(dataset, tmp_path / "cut", config, callbacks=[second])
    assert second.entries == [
        "before_run seen=4 resumed=True 2.1",
        "before_epoch 2.1",
        *steps(2, 2, 3),
        "after_epoch of=2 3.0",
        "at_end 3.0",
        "close 3.0",
    ]
    train(dataset, tmp_path / "without", config)
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "without"), "and it changes no number"
    assert same_bits(weights(tmp_path / "cut"), weights(tmp_path / "without"))


def test_one_that_came_after_the_state_was_written_starts_from_nothing(
    dataset: Path, settings: Settings, tmp_path: Path
) -> None:
    config, late = settings(epochs=2, global_batch_size=32), Diary()
    with pytest.raises(Interrupted):
        train(dataset, tmp_path / "out", config, should_stop=stop_at(1 + 1))
    late.seen = 1  # what it would have seen
    train(dataset, tmp_path / "out", config, callbacks=[late])
    assert late.entries[0] == "before_run seen=1 resumed=True 1.1"


def test_a_failure_is_told_with_its_error_and_every_callback_is_closed(
    dataset: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails(Callback):
        def after_step(self, run: Run, step: Step) -> None:
            raise TrainingError("planted")

    closed: list[Callback] = []
    monkeypatch.setattr(ProgressBar, "close", lambda self, run: closed.append(self))
    diary = Diary()
    with pytest.raises(TrainingError, match="planted"):
        train(dataset, tmp_path / "out", settings(), callbacks=[Fails(), diary])
    assert diary.entries[-2:] == ["at_failure TrainingError 1.1", "close 1.1"] and len(closed) == 1


def test_the_progress_bar_shows_memory_in_use_and_looks_at_it_once_a_second(
    dataset: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    looked: list[MemoryInUse] = []
    ticks = itertools.count()
    ends = iter([MemoryInUse(None, 3 * 2**30), MemoryInUse(5 * 2**30, 2**30)])

    def now(cls: type[MemoryInUse]) -> MemoryInUse:
        looked.append(next(ends))
        return looked[-1]

    monkeypatch.setattr(MemoryInUse, "now", classmethod(now))
    clock = SimpleNamespace(monotonic=lambda: 10.0 + 0.45 * len(said) + 0.001 * next(ticks))
    monkeypatch.setattr(progress_bar, "time", clock)
    monkeypatch.setattr(progress_bar.Progress, "note", lambda self, words: said.append(words))
    train(dataset, tmp_path / "out", settings(epochs=1, global_batch_size=10))
    memory = [one.rpartition("memory=")[2] for one in said]
    assert len(memory) == 5 and memory == ["3.0GiB"] * 3 + ["5.0GiB"] * 2, "the device's where there is one"


def test_they_are_told_in_the_order_of_the_list_and_their_states_have_names_of_their_own(
    dataset: Path, settings: Settings, tmp_path: Path
) -> None:
    order: list[str] = []

    class Named(Callback):
        def __init__(self, called: str) -> None:
            self._called = called

        def before_step(self, run: Run) -> None:
            order.append(self._called)

    train(dataset, tmp_path / "out", settings(epochs=1), callbacks=[Named("a"), Named("b")])
    assert order == ["a", "b"] * 3
    with pytest.raises(ValueError, match="one name: diary, diary"):
        Callbacks([Diary(), Diary()])

    class Taken(Diary):
        name = "epoch"

    with pytest.raises(ValueError, match="name of the cursor's own: epoch"):
        train(dataset, tmp_path / "taken", settings(epochs=1), callbacks=[Taken()])


def test_a_stop_between_epochs_writes_no_second_state_of_the_same_place(
    dataset: Path, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted, match="after epoch 1"):
        train(dataset, tmp_path / "out", settings(epochs=2, global_batch_size=32), should_stop=stop_at(1 + 1 + 1 + 1))
    assert [path.name for path in (tmp_path / "out" / "checkpoints" / "resume").iterdir()] == ["state_000001"]


def test_a_state_says_what_each_callback_kept_under_its_name_in_the_cursor_and_in_a_file(
    dataset: Path, settings: Settings, tmp_path: Path
) -> None:
    """The form of states that older versions wrote, and read."""
    with pytest.raises(Interrupted):
        train(dataset, tmp_path / "out", settings(epochs=2, liveness_steps=10), should_stop=stop_at(1 + 2))
    state, _ = newest_resume_state(tmp_path / "out", Cursor)
    cursor = read_json(state.path / "manifest.json")["cursor"]
    assert (cursor["epoch"], cursor["batches_done"], cursor["global_step"]) == (1, 2, 2)
    assert cursor["sums"]["updates"] == cursor["monitor"]["steps"] == cursor["liveness"]["observed"] == 2
    assert {path.name for path in state.path.glob("*.safetensors")} == {"monitor.safetensors", "liveness.safetensors"}

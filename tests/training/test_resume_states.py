"""When a run's state is saved: by the clock, within an epoch or at its end; at a stop; after the last epoch."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from redheart.batches.table import SituationTable
from redheart.config import Config
from redheart.errors import Interrupted, StorageError
from redheart.training import trainer
from redheart.training.callbacks import resume_states
from redheart.training.callbacks.callback import Callback
from redheart.training.callbacks.resume_states import ResumeStates
from redheart.training.callbacks.run import Run
from redheart.training.run_folder import read_run
from redheart.training.step_result import Step
from tests.training.runs import metrics, same_bits, train, weights
from tests.training.test_average import StopAt

Positions = list[tuple[int, int]]


class SlowSteps(Callback):
    """A clock on which a step takes a minute, and nothing else takes any time but a save, which takes two seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def after_step(self, run: Run, step: Step) -> None:
        self.now += 60.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def saved_at(monkeypatch: pytest.MonkeyPatch) -> tuple[SlowSteps, Positions]:
    """The clock, and where states were saved."""
    clock, positions = SlowSteps(), []
    save = resume_states.save_progress

    def noted(output: Path, run: str, manifest: object, loop: object, position: object, kept: object) -> None:
        save(output, run, manifest, loop, position, kept)  # type: ignore[arg-type]
        positions.append((position.epoch, position.batches_done))  # type: ignore[attr-defined]
        clock.now += 2.0

    monkeypatch.setattr(resume_states, "save_progress", noted)
    monkeypatch.setattr(trainer, "ResumeStates", lambda *given, **named: ResumeStates(*given, **named, clock=clock))
    return clock, positions


@pytest.mark.parametrize(
    "minutes, expected",
    [
        (0, [(2, 0), (3, 0)]),
        (2, [(1, 2), (2, 1), (3, 0)]),  # three steps an epoch; after its last comes its end
        (3, [(2, 0), (3, 0)]),
        (4, [(2, 1), (3, 0)]),
        (100, [(3, 0)]),
    ],
)
def test_a_state_is_saved_when_so_many_minutes_went_by_and_after_the_last_epoch(
    dataset: Path,
    settings: Callable[..., Config],
    tmp_path: Path,
    saved_at: tuple[SlowSteps, Positions],
    logged: Callable[[], str],
    minutes: float,
    expected: Positions,
) -> None:
    clock, positions = saved_at
    train(dataset, tmp_path / "out", settings(save_every_minutes=minutes), callbacks=[clock])
    assert positions == expected
    for epoch, batch in [one for one in expected if one[1]]:
        assert f"재개 상태 저장: 에폭 {epoch}, 배치 {batch} (2.0초)" in logged()
    took = re.search(r"학습 완료: 2 에폭, (\d+)초", logged())
    assert took is not None and int(took[1]) < 600
    found = read_run(tmp_path / "out")
    assert found is not None and found.finished and found.save_seconds == 2.0


def test_a_run_that_was_killed_goes_on_from_a_state_within_an_epoch_to_the_same_bits(
    dataset: Path,
    settings: Callable[..., Config],
    tmp_path: Path,
    table: SituationTable,
    saved_at: tuple[SlowSteps, Positions],
    logged: Callable[[], str],
) -> None:
    """Epochs that were finished after it are trained again, and their records and checkpoints replaced by equal ones."""
    clock, positions = saved_at

    class Killed(Callback):
        def after_step(self, run: Run, step: Step) -> None:
            if (step.epoch, step.batch_index) == (3, 0):
                raise KeyboardInterrupt

    config = settings(epochs=3, save_every_minutes=5, dropout=0.2, ema_decay=0.5)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path / "cut", config, callbacks=[Killed(), clock])
    assert positions == [(2, 2)] and len(metrics(tmp_path / "cut")) == 2
    train(dataset, tmp_path / "cut", config)
    assert "이어서 학습: 에폭 2, 배치 2 " in logged()
    train(dataset, tmp_path / "whole", config)
    folders = {"checkpoint": "checkpoints/epoch_0002.g2"}
    expected = metrics(tmp_path / "whole")
    assert metrics(tmp_path / "cut") == [expected[0], expected[1] | folders, expected[2]]
    for epoch in (1, 2, 3):
        assert same_bits(weights(tmp_path / "cut", epoch), weights(tmp_path / "whole", epoch))


def test_a_stop_saves_whatever_the_clock_says_and_only_once(
    dataset: Path, settings: Callable[..., Config], tmp_path: Path, saved_at: tuple[SlowSteps, Positions]
) -> None:
    clock, positions = saved_at
    for minutes, expected in ((100, [(1, 1)]), (1, [(1, 1)])):
        positions.clear()
        with pytest.raises(Interrupted):
            train(
                dataset,
                tmp_path / str(minutes),
                settings(save_every_minutes=minutes),
                should_stop=StopAt(1 + 1),
                callbacks=[clock],
            )
        assert positions == expected


def test_a_last_state_without_room_leaves_the_run_finished_and_one_before_it_ends_the_run(
    settings: Callable[..., Config],
    table: SituationTable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*arguments: object) -> None:
        raise StorageError("state_000001: resume state not written: No space left on device")

    monkeypatch.setattr(resume_states, "save_progress", full)
    output = tmp_path / "kept"
    train(table.path, output, settings(save_every_minutes=10))
    run = read_run(output)
    assert run is not None and run.finished and not list((output / "checkpoints").glob("resume/state_*"))
    with pytest.raises(StorageError, match="No space left"):
        train(table.path, tmp_path / "lost", settings(save_every_minutes=0))

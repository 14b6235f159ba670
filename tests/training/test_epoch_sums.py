"""Sums over an epoch's steps: what adds up as a walk, what per situation, and that time stopped and gone on with counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from redheart.config import Config
from redheart.errors import Interrupted
from redheart.health.update_monitor import UpdateReport
from redheart.tasks import MODULES
from redheart.training.callbacks import metrics as metrics_callback
from redheart.training.epoch_sums import EpochSums
from tests.training.runs import train, training_metrics


def report(relative: float, dead: float) -> UpdateReport:
    return UpdateReport(1, dict.fromkeys(MODULES, relative), dict.fromkeys(MODULES, dead))


def test_updates_of_two_checks_add_up_like_steps_of_a_walk_and_a_row_is_dead_that_neither_saw_move() -> None:
    sums = EpochSums()
    sums.add_check(report(3.0, 0.5))
    sums.add_check(report(4.0, 0.25))
    record = sums.update_record().modules["backbone"]
    assert (record.relative, record.dead_fraction) == (5.0, 0.25)


class Clock:
    """``time`` whose every look is a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


def test_seconds_before_a_stop_count_and_situations_per_second_are_of_situations(
    dataset: Path,
    tmp_path: Path,
    settings: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An epoch of six batches takes six seconds of such a clock, in one go or in two."""
    monkeypatch.setattr(metrics_callback, "time", Clock())
    said: list[dict[str, object]] = []
    monkeypatch.setattr(
        metrics_callback, "info", lambda key, **values: said.append(values) if key == "training.epoch" else None
    )
    config = settings(epochs=1)
    train(dataset, tmp_path / "whole", config)
    (whole,) = training_metrics(tmp_path / "whole")
    asked = iter((False, False, True))
    with pytest.raises(Interrupted):
        train(dataset, tmp_path / "stopped", config, should_stop=lambda: next(asked, True))
    train(dataset, tmp_path / "stopped", config)
    (gone_on,) = training_metrics(tmp_path / "stopped")
    assert gone_on["seconds"] == whole["seconds"] > 2
    assert [one["rate"] for one in said] == pytest.approx([said[0]["rate"]] * 2)
    assert said[0]["rate"] == pytest.approx(16, rel=0.2), "a batch of 16 takes a second"

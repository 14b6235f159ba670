"""The rule of what stays, against a list that is written out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from redheart.config import load_config
from redheart.config.schema import SweetSpotConfig
from redheart.retention import policy
from redheart.retention.policy import Counts, modules_to_keep, smoothed
from redheart.sweet_spot.analysis import choose_epochs
from redheart.sweet_spot.curves import History, ModuleCurve, read_history
from redheart.sweet_spot.techniques.mcda import weighted_scores
from redheart.tasks import MODULES
from tests.sweet_spot.sweet_spot_records import curve, realistic_run

CONFIG = SweetSpotConfig()


def _history(curves: dict[str, ModuleCurve]) -> History:
    return History(False, True, next(iter(curves.values())).epochs, curves)


def test_the_last_and_the_best_by_the_served_loss_stay_whole_and_each_module_keeps_its_own_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy, "_voted_for", lambda history, config: {module: set() for module in MODULES})
    falling = curve(np.linspace(1.0, 0.1, 12))
    early = curve([9, 9, 0.1, 4, 4, 4, 4, 4, 4, 4, 4, 4], skill=[0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0])
    curves = {module: early if module == "phases" else falling for module in MODULES}
    served = {epoch: abs(epoch - 6) + 0.1 for epoch in range(1, 13)}
    keep = modules_to_keep(_history(curves), served, Counts(last=2, whole=1, best=1), CONFIG)
    assert {epoch for epoch, modules in keep.items() if modules == set(MODULES)} == {6, 11, 12}
    assert keep[3] == {"phases"}, "its lowest loss"
    assert keep[5] == {"phases"}, "its best skill, and its lowest smoothed loss"
    assert all(not keep[epoch] for epoch in (1, 2, 4, 7, 8, 9, 10))


def test_a_smoothed_loss_is_the_mean_over_the_neighbours_that_were_measured() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0])
    assert smoothed(values) == pytest.approx([1.5, 7 / 3, np.nan, 17 / 4, 5.0, 5.0], nan_ok=True)


def test_a_module_without_numbers_keeps_the_whole_epochs_alone() -> None:
    unknown = curve(np.full(9, np.nan))
    curves = {module: unknown for module in MODULES}
    keep = modules_to_keep(_history(curves), {}, Counts(last=2, whole=3, best=3), CONFIG)
    assert [epoch for epoch, modules in keep.items() if modules] == [8, 9]


def test_as_epochs_come_the_best_by_loss_and_by_skill_of_all_of_them_are_never_given_up(tmp_path: Path) -> None:
    """Thinned after each epoch, as a run is: what went can't come back."""
    count, counts = 40, Counts(last=5, whole=5, best=2)
    history = read_history(realistic_run(tmp_path / "metrics.jsonl", count, seed=3))
    served = {
        epoch: float(np.mean([one.loss[epoch - 1] for one in history.curves.values()])) for epoch in range(1, count + 1)
    }
    there: dict[int, set[str]] = {}
    for epochs in range(1, count + 1):
        there[epochs] = set(MODULES)
        so_far = _history({module: _first(one, epochs) for module, one in history.curves.items()})
        keep = modules_to_keep(so_far, {e: loss for e, loss in served.items() if e <= epochs}, counts, CONFIG)
        there = {epoch: modules & keep[epoch] for epoch, modules in there.items()}
        room = sum(len(modules) for modules in there.values()) / len(MODULES)
        assert room <= counts.most(epochs) - (epochs > counts.most(epochs)), "what the disk is foretold to hold"
    for module, one in history.curves.items():
        best = {*np.argsort(one.loss, kind="stable")[:2]} if module != "heads.verdict" else set()
        best |= {*np.argsort(-one.skill, kind="stable")[:2]} if np.isfinite(one.skill).all() else set()
        assert all(module in there[int(position) + 1] for position in best), module
    whole = {epoch for epoch, modules in there.items() if len(modules) == len(MODULES)}
    assert whole >= {*range(count - 4, count + 1), *sorted(served, key=served.__getitem__)[:5]}
    assert 2 * sum(len(modules) for modules in there.values()) < count * len(MODULES)


def _first(one: ModuleCurve, count: int) -> ModuleCurve:
    arrays = ("epochs", "loss", "skill", "gradient_mean", "relative_update", "dead_fraction", "steps")
    return replace(one, **{name: getattr(one, name)[:count] for name in arrays})


def test_the_best_by_the_decision_analysis_stay() -> None:
    generator = np.random.default_rng(0)
    one = curve(generator.random(20), generator.random(20), gradient_mean=generator.random(20) + 0.1)
    best = int(np.nanargmax(weighted_scores(one, CONFIG).total)) + 1
    keep = modules_to_keep(_history(dict.fromkeys(MODULES, one)), {}, Counts(last=1, whole=1, best=1), CONFIG)
    assert best not in (int(one.loss.argmin()) + 1, int(one.skill.argmax()) + 1), "the example tells nothing"
    assert keep[best] == set(MODULES)


def test_no_fewer_last_epochs_stay_than_the_average_is_made_of() -> None:
    config = load_config(None, ["training.keep_last=2", "crossover.average_last=7", "training.keep_best=4"])
    assert Counts.of(config) == Counts(last=7, whole=7, best=4)
    assert Counts.of(load_config(None, ["training.keep_last=9"])) == Counts(last=9, whole=5, best=3)
    assert Counts(last=7, whole=7, best=4).most(60) == 36 and Counts(last=7, whole=7, best=4).most(12) == 12


def test_what_the_techniques_vote_for_as_things_stand_stays_too(tmp_path: Path) -> None:
    history = read_history(realistic_run(tmp_path / "metrics.jsonl", 40, seed=1))
    keep = modules_to_keep(history, {}, Counts(last=1, whole=1, best=1), CONFIG)
    voted = policy._voted_for(history, CONFIG)
    assert all(module in keep[epoch] for module, epochs in voted.items() for epoch in epochs)
    choices = choose_epochs(history, CONFIG)
    assert all(choice.epoch in voted[module] for module, choice in choices.items() if choice.confidence)

"""Scoring: a candidate's weights are put together once, whatever it is scored on, and no number depends on that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import pytest
import torch

from redheart.config import Config, CrossoverConfig, ReportConfig
from redheart.crossover import crossover as stage
from redheart.crossover import evaluation, run_crossover
from redheart.crossover.evaluation import Scorer
from redheart.crossover.strategies import EpochFiles, Recipe, crossover, uniform
from redheart.model import UnifiedModel
from redheart.tasks import MODULES
from tests.crossover.small_run import SmallRun, analysis_of, mixed

CONFIG = Config(crossover=CrossoverConfig(random_controls=2), report=ReportConfig(bootstrap_samples=200))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, frozenset[str]]]:
    """Each time that weights were put into the model: the recipe's identity, and for which modules."""
    told: list[tuple[str, frozenset[str]]] = []
    real = evaluation.load_into

    def spy(model: UnifiedModel, files: EpochFiles, recipe: Recipe, *, modules: Collection[str], **how: Any) -> None:
        told.append((files.identity(recipe), frozenset(modules)))
        real(model, files, recipe, modules=modules, **how)

    monkeypatch.setattr(evaluation, "load_into", spy)
    return told


def _scorer(run: SmallRun) -> Scorer:
    return Scorer(EpochFiles(run.output), run.table, samples=100, confidence=0.95, seed=0)


def test_each_candidate_is_put_together_once_for_both_its_splits(
    run: SmallRun, loaded: list[tuple[str, frozenset[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    decided_after = []
    real = stage.decide

    def decide(*args: Any, **how: Any) -> Any:
        decided_after.append(len(loaded))
        return real(*args, **how)

    monkeypatch.setattr(stage, "decide", decide)
    result = run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)
    times = Counter(identity for identity, _ in loaded)
    assert {one.identity for one in result.candidates} <= set(times)
    # Only the soup may be put together again: what it was tried with last may not have stayed in.
    assert {one.name for one in result.candidates if times[one.identity] > 1} <= {"soup"}
    assert decided_after == [len(loaded)]  # none is loaded for the test split
    assert all({"judge", "test"} == set(one.scores) for one in result.candidates)


def test_modules_that_a_candidate_shares_with_the_one_before_stay(
    trained: SmallRun, loaded: list[tuple[str, frozenset[str]]]
) -> None:
    scorer = _scorer(trained)
    choices = {module: 2 if module.startswith("heads.") else 5 for module in MODULES}
    scorer.evaluate(uniform("last", [5]), "judge")
    mixture = scorer.evaluate(crossover("crossover", choices), "judge")
    assert loaded[1][1] == {module for module in MODULES if module.startswith("heads.")}
    assert (mixture.item_losses == _scorer(trained).evaluate(crossover("x", choices), "judge").item_losses).all()


def test_the_candidate_that_needs_least_read_is_the_next(
    trained: SmallRun, loaded: list[tuple[str, frozenset[str]]]
) -> None:
    scorer = _scorer(trained)
    near = crossover("random_1", dict.fromkeys(MODULES, 6) | {"phases": 1})
    recipes = [uniform("last", [6]), uniform("average", [1, 2, 3]), near]
    scores = scorer.score_all(recipes, "judge", comparisons=2)
    assert [identity for identity, _ in loaded] == [scorer.files.identity(recipes[one]) for one in (0, 2, 1)]
    assert scores[0].difference is None and all(score.difference for score in scores[1:])


def test_what_was_predicted_ahead_scores_as_what_is_predicted_in_its_turn(trained: SmallRun) -> None:
    recipes = [uniform("last", [6]), uniform("average", [4, 5, 6]), uniform("best_epoch", [3])]
    ahead, alone = _scorer(trained), _scorer(trained)
    ahead.expect(recipes, ["judge", "test"])
    for split in ("judge", "test"):
        assert ahead.score_all(recipes, split, comparisons=2) == alone.score_all(recipes, split, comparisons=2)  # type: ignore[arg-type]


def test_a_load_that_was_cut_short_leaves_no_module_that_passes_for_whole(trained: SmallRun) -> None:
    scorer = _scorer(trained)
    scorer.evaluate(uniform("last", [6]), "judge")
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 5

    scorer.should_stop = stop
    with pytest.raises(evaluation.Interrupted):
        scorer.evaluate(uniform("best_epoch", [1]), "judge")
    scorer.should_stop = lambda: False
    scorer.evaluate(uniform("last", [6]), "judge")
    assert all(torch.equal(tensor, trained.states[6][name]) for name, tensor in scorer.model.state_dict().items())

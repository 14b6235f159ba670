"""The delivered model is set beside the simple baseline once nothing can follow from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from redheart.checkpoint.restore import restore_model
from redheart.config import Config, CrossoverConfig, ReportConfig
from redheart.crossover import run_crossover
from redheart.crossover.beside_baseline import load_beside_baseline
from redheart.errors import StorageError
from redheart.evaluation.evaluate import evaluate_model
from redheart.paths import OutputPaths
from tests.crossover.small_run import SmallRun, analysis_of, mixed, small_table

CONFIG = Config(crossover=CrossoverConfig(random_controls=0), report=ReportConfig(bootstrap_samples=200))


def test_it_is_about_the_delivered_model_and_found_again_by_its_weights(run: SmallRun) -> None:
    result = run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)
    found = load_beside_baseline(run.output, result[result.delivered].identity)
    assert found is not None and found.candidate == result.delivered and set(found.splits) == {"judge", "test"}
    model = restore_model(run.output / "best_model")
    for split, comparison in found.splits.items():
        scored = evaluate_model(model, run.table, split)
        for task, one in comparison.tasks.items():
            skill = one.metrics["skill"]
            assert skill.model.value == pytest.approx(scored.tasks[task].skill, abs=1e-5)
            assert skill.model.value == pytest.approx(
                result[result.delivered].scores[split].tasks[task].skill, abs=1e-5
            )
            assert skill.difference.value == pytest.approx(skill.model.value - skill.baseline.value)
    assert found.baseline.trained_on == run.table.counts["train"]
    assert load_beside_baseline(run.output, "another") is None
    path = OutputPaths(run.output).beside_baseline
    assert "NaN" not in path.read_text()
    path.write_text(json.dumps({"format": 1}))
    with pytest.raises(StorageError, match=r"rival\.json"):
        load_beside_baseline(run.output, "another")


def test_the_baseline_changes_no_decision_and_test_targets_change_no_baseline(run: SmallRun, tmp_path: Path) -> None:
    analysis = analysis_of(mixed(6), epochs=6)
    first = run_crossover(CONFIG, run.output, analysis, run.table)
    before = load_beside_baseline(run.output, first[first.delivered].identity)
    scrambled = small_table(tmp_path)
    test = scrambled.split_indices["test"]
    for values in scrambled.targets.values.values():
        values[test] = np.random.default_rng(0).permutation(values[test])
    second = run_crossover(CONFIG, run.output, analysis, scrambled)
    after = load_beside_baseline(run.output, second[second.delivered].identity)
    assert second.delivered == first.delivered and before is not None and after is not None
    assert before.splits["judge"] == after.splits["judge"] and before.baseline.tasks == after.baseline.tasks
    assert before.splits["test"] != after.splits["test"]


def test_after_a_dry_run_there_is_nothing_to_compare(run: SmallRun) -> None:
    run_crossover(CONFIG, run.output, analysis_of(None, epochs=6, dry_run=True, weights_changed=False), run.table)
    assert not (OutputPaths(run.output).beside_baseline).exists()

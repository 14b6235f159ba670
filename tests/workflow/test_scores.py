"""An evaluation as a table and as JSON: every metric beside the constant predictor's and the baseline's, and plain words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest
import torch

from redheart.baseline.comparison import compare
from redheart.baseline.run import baseline_of_run
from redheart.evaluation.evaluate import evaluate_model
from redheart.facts.comparison import BaselineDescription
from redheart.facts.scores import TaskScores
from redheart.messages import set_language
from redheart.model import UnifiedModel
from redheart.tasks import TASKS
from redheart.workflow.scores import Scored, as_json, as_table
from tests.crossover.small_run import DIMENSIONS, small_table


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    set_language("en")
    yield
    set_language("ko")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """A model that learned nothing, on data where a linear model knows a lot."""
    set_language("en")
    torch.manual_seed(0)
    table = small_table(tmp_path_factory.mktemp("data"), 300)
    model = UnifiedModel(DIMENSIONS, table.statistics(table.split_indices["train"])).eval()
    evaluation = evaluate_model(model, table, "judge")
    baseline = baseline_of_run(table, table, ["judge"])
    said = baseline.predictions["judge"]
    comparison = compare(evaluation, model.statistics, said, samples=200, confidence=0.9, seed=0)
    return Scored(evaluation, comparison, baseline.description)


def without(scored: Scored, task: str) -> Scored:
    """The same where the task had no target."""
    evaluation = replace(scored.evaluation, tasks={**scored.evaluation.tasks, task: TaskScores(count=0)})
    comparison = scored.comparison
    tasks = {**comparison.tasks, task: msgspec.structs.replace(comparison.tasks[task], metrics={}, standing=None)}
    return replace(scored, evaluation=evaluation, comparison=msgspec.structs.replace(comparison, tasks=tasks))


def test_the_table_has_every_metric_of_every_task_beside_the_constants_and_the_rivals(scored: Scored) -> None:
    lines = as_table(scored).splitlines()
    count = scored.evaluation.count
    assert lines[0].startswith(f"judge: {count} situations, loss {scored.evaluation.loss:.4f}")
    assert "90 % intervals from 200 resamples" in lines[0]
    assert lines[2].split() == ["task", "items", "metric", "model", "constant", "rival", "model", "−", "rival"]
    rows = lines[3 : lines.index("", 3)]
    assert [row.split()[0] for row in rows if not row.startswith(" ")] == [task.name for task in TASKS]
    assert len(rows) == sum(5 if task.is_distribution else 3 for task in TASKS)
    kl = next(row for row in rows if "KL divergence" in row)
    metric = scored.comparison.tasks["emotion"].metrics["kl"]
    for estimate in (metric.model, metric.baseline):
        assert f"{estimate.value:.4f} ({estimate.low:.4f} … {estimate.high:.4f})" in kl
    assert f" {metric.constant:.4f} " in kl and f"+{metric.difference.value:.3f} (" in kl


def test_where_the_model_stands_is_said_in_words(scored: Scored) -> None:
    table = as_table(scored)
    (below,) = [line for line in table.splitlines() if line.startswith("Below the simple baseline on judge: ")]
    for task in ("emotion", "bentham", "surd"):
        difference = scored.comparison.tasks[task].metrics["skill"].difference
        assert (
            f"{task} (−{abs(difference.value):.3f}, −{abs(difference.low):.3f} to −{abs(difference.high):.3f})" in below
        )
    assert "mean (" in below and "Above the simple baseline" not in table
    trained_on = scored.baseline.trained_on
    assert f"on the vectors of title, whole text, mean of the windows, fitted to the {trained_on} situations" in table
    assert "judge picked the delivered model" in table


def test_a_task_without_targets_and_a_missing_baseline_are_said_to_be_so(scored: Scored) -> None:
    (row,) = [line for line in as_table(without(scored, "regret")).splitlines() if line.startswith("regret")]
    assert row.split() == ["regret", "0", "no", "target", "to", "score"]
    alone = Scored(scored.evaluation, scored.comparison, BaselineDescription(absent="its data is gone"))
    assert "No simple baseline: its data is gone" in as_table(alone)
    assert json.loads(as_json(alone))["rival"] == {"absent": "its data is gone"}


def test_a_task_whose_targets_are_all_alike_has_a_dash_and_the_reason_beside_its_other_metrics(scored: Scored) -> None:
    tasks = dict(scored.comparison.tasks)
    for name in ("emotion", "regret"):
        left = {key: metric for key, metric in tasks[name].metrics.items() if key not in ("skill", "r2")}
        tasks[name] = msgspec.structs.replace(tasks[name], metrics=left, standing=None)
    comparison = msgspec.structs.replace(scored.comparison, tasks=tasks, in_sample=True)
    table = as_table(replace(scored, comparison=comparison))
    rows = [line for line in table.splitlines() if line.startswith(("emotion", "regret"))]
    assert len(rows) == 2 and all(row.endswith("–, targets all alike") for row in rows)
    assert "KL divergence" in table and "no target to score" not in table


def test_on_the_training_split_no_standing_is_told(scored: Scored) -> None:
    tasks = {name: msgspec.structs.replace(task, standing=None) for name, task in scored.comparison.tasks.items()}
    inside = replace(
        scored, comparison=msgspec.structs.replace(scored.comparison, tasks=tasks, standing=None, in_sample=True)
    )
    table = as_table(inside)
    assert "nothing follows from who is better" in table
    assert "the simple baseline on" not in table


def test_json_holds_the_same_numbers(scored: Scored) -> None:
    read = json.loads(as_json(scored))
    assert (read["split"], read["count"], read["loss"]) == ("judge", scored.evaluation.count, scored.evaluation.loss)
    assert read["tasks"]["emotion"]["kl"] == scored.evaluation.tasks["emotion"].kl
    assert read["modules"]["backbone"]["skill"] == scored.evaluation.modules["backbone"].skill
    metric = read["comparison"]["tasks"]["emotion"]["metrics"]["kl"]
    assert metric["model"]["value"] == pytest.approx(read["tasks"]["emotion"]["kl"])
    assert metric["constant"] == pytest.approx(read["tasks"]["emotion"]["kl_constant"])
    assert metric["difference"]["low"] < metric["difference"]["value"] < metric["difference"]["high"]
    assert read["comparison"]["tasks"]["surd"]["standing"] == "below"
    assert read["comparison"]["mean_skill"]["model"]["value"] == pytest.approx(read["mean_skill"])
    assert read["rival"]["tasks"]["emotion"]["kind"] == "logistic"


def test_a_skill_is_named_by_what_it_is_of(scored: Scored) -> None:
    rows = [line for line in as_table(scored).splitlines() if "skill (" in line]
    assert ["skill (KL)" in row for row in rows] == [True, False] and "skill (log-loss)" in rows[1]

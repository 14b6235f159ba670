"""An evaluation as a table and as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from redheart.tasks import TASKS
from redheart.training.evaluation import Evaluation
from redheart.workflow.scores import as_json, as_table

_DISTRIBUTION = {
    "count": 63,
    "skill": 0.25,
    "kl": 0.24,
    "kl_constant": 0.32,
    "log_loss": 1.5,
    "log_loss_constant": 1.6,
    "accuracy": 0.47,
    "accuracy_constant": 0.32,
    "macro_f1": 0.3,
}
_REGRESSION = {"count": 63, "skill": -0.05, "r2": -0.05, "mae": 0.2, "mae_constant": 0.21, "rank_correlation": 0.5}


def _evaluation(**changed: dict[str, Any]) -> Evaluation:
    tasks = {task.name: dict(_DISTRIBUTION if task.is_distribution else _REGRESSION) for task in TASKS} | changed
    return Evaluation(
        split="test",
        count=63,
        loss=1.2345,
        terms={"heads.emotion": 1.0},
        tasks=tasks,
        modules={"backbone": {"loss": 1.2345, "skill": 0.1}},
        item_losses=np.zeros(63),
        item_errors={},
        predictions={},
        targets={},
        masks={},
        ids=[],
    )


def test_the_table_has_a_row_a_task_beside_the_constant_predictor() -> None:
    lines = as_table(_evaluation()).splitlines()
    assert lines[0] == "test: 63 situations, loss 1.2345"
    assert [line.split()[0] for line in lines[2:7]] == [task.name for task in TASKS]
    assert "+0.250  KL 0.2400 (0.3200), log-loss 1.5000 (1.6000), top-1 47.0% (32.0%), macro-F1 0.300" in lines[2]
    assert "-0.050  R² -0.050 (0), mean error 0.200 (0.210), rank correlation +0.500" in lines[3]
    assert "0 is the constant predictor" in lines[-1]


def test_a_task_without_targets_is_said_to_have_none() -> None:
    (row,) = [line for line in as_table(_evaluation(regret={"count": 0})).splitlines() if line.startswith("regret")]
    assert row.split() == ["regret", "0", "–", "no", "target", "to", "score"]


def test_a_rank_correlation_that_can_not_be_had_is_left_out() -> None:
    scored = {key: value for key, value in _REGRESSION.items() if key != "rank_correlation"}
    (row,) = [line for line in as_table(_evaluation(surd=scored)).splitlines() if line.startswith("surd")]
    assert row.endswith("mean error 0.200 (0.210)")


def test_json_holds_the_same_numbers() -> None:
    read = json.loads(as_json(_evaluation()))
    assert (read["split"], read["count"], read["loss"]) == ("test", 63, 1.2345)
    assert read["tasks"]["emotion"]["kl"] == 0.24
    assert read["modules"]["backbone"]["skill"] == 0.1

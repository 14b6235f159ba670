"""An evaluation as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from typing import Any

from redheart.tasks import TASKS
from redheart.training.evaluation import Evaluation


def record(evaluation: Evaluation) -> dict[str, Any]:
    """The JSON-able part of an evaluation."""
    return {
        "split": evaluation.split,
        "count": evaluation.count,
        "loss": evaluation.loss,
        "mean_skill": evaluation.mean_skill,
        "terms": evaluation.terms,
        "tasks": evaluation.tasks,
        "modules": evaluation.modules,
    }


def as_json(evaluation: Evaluation) -> str:
    return json.dumps(record(evaluation), indent=2, ensure_ascii=False)


def as_table(evaluation: Evaluation) -> str:
    """One row a task: its metrics beside the constant predictor's."""
    lines = [
        f"{evaluation.split}: {evaluation.count} situations, loss {evaluation.loss:.4f}",
        f"{'task':<10}{'items':>7}{'skill':>9}  metrics (the constant predictor's in brackets)",
    ]
    for task in TASKS:
        scored = evaluation.tasks[task.name]
        if "skill" not in scored:
            lines.append(f"{task.name:<10}{scored['count']:>7}{'–':>9}  no target to score")
            continue
        if task.is_distribution:
            text = (
                f"KL {scored['kl']:.4f} ({scored['kl_constant']:.4f}), log-loss {scored['log_loss']:.4f} "
                f"({scored['log_loss_constant']:.4f}), top-1 {scored['accuracy']:.1%} ({scored['accuracy_constant']:.1%}), "
                f"macro-F1 {scored['macro_f1']:.3f}"
            )
        else:
            text = f"R² {scored['r2']:+.3f} (0), mean error {scored['mae']:.3f} ({scored['mae_constant']:.3f})"
            if "rank_correlation" in scored:
                text += f", rank correlation {scored['rank_correlation']:+.3f}"
        lines.append(f"{task.name:<10}{scored['count']:>7}{scored['skill']:>+9.3f}  {text}")
    lines.append("skill: 1 is perfect, 0 is the constant predictor of the training split, below 0 is worse than that")
    return "\n".join(lines)

"""Own files: what this project's commands write, told by the names in an object, where a dataset was wanted."""

from __future__ import annotations

from typing import Any, NamedTuple

from redheart.data.schema import JsonObject

_DATASET = "a dataset: situations with id and text"


class OwnFile(NamedTuple):
    """What was found in a situation's place, and what is wanted."""

    found: str
    wanted: str


#: Names that an object of a file has, all of them, and what the file is. The more special of two comes first.
_FILES: tuple[tuple[frozenset[str], str], ...] = tuple(
    (frozenset(names.split()), name)
    for names, name in (
        ("kind run config", "the record of a training (metrics.jsonl)"),
        ("kind epoch global_step", "the record of a training (metrics.jsonl)"),
        ("optimal_lr evidence", "a sweep's choice (optimal_lr.json)"),
        ("optimal_lr val_loss", "a sweep's choice (optimal_lr.json)"),
        ("learning_rate val_loss sweep point", "a trial of a sweep (trials/)"),
        ("identity seed sweep", "a sweep's identity (sweep.json)"),
        ("stage low high trials", "a plan of a sweep (plan_stage….json)"),
        ("dataset preset path", "what a sweep was made for (chosen_for.json)"),
        ("run finished identity", "a run's description (run.json)"),
        ("run dataset texts splits", "what a run was trained on (trained_on.json)"),
        ("run preset d_embed", "a checkpoint's manifest (manifest.json)"),
        ("cursor files", "a resume state's manifest (manifest.json)"),
        ("format written output result", "a report's facts (report.json)"),
        ("outcome winner delivered candidates", "the candidates of a crossover (candidates.json)"),
        ("candidate identity rival splits", "a comparison with the baseline (rival.json)"),
        ("count events final_micro_batch_size", "statistics of memory (oom_stats.json)"),
        ("dataset preset seeds rows", "an ablation (redheart ablate)"),
        ("split count loss comparison", "an evaluation (redheart evaluate)"),
        ("settings choices explanation", "a sweet-spot analysis (sweet_spot_analysis.json)"),
        ("epoch train_loss choose_loss", "the curves of a training (training_curves.json)"),
        ("source source_state embedded_state", "a note beside vectors (written.json)"),
        ("format dtype d_embed", "the index of vectors (.index.jsonl)"),
        ("row precision items", "the index of vectors (.index.jsonl)"),
    )
)
_PREDICTED = frozenset(("id", "emotions", "regret_factor", "bentham_scores", "surd_metrics", "label", "label_scores"))
#: What ``stages.json`` may hold, each with a fingerprint.
_STAGES = frozenset(("analyze", "crossover", "evaluate", "report", "sweep", "ablate"))


def own_file(item: Any) -> OwnFile | None:
    """The file that ``item`` is of, where a command of this project wrote it; None where it may be a situation."""
    if not isinstance(item, dict) or not item or "text" in item:
        return None
    if item.keys() >= _PREDICTED and not item.keys() & {"title", "action"}:
        return OwnFile(
            "a prediction without its text, as `redheart predict --json` prints them",
            f"{_DATASET} (such as the file that was predicted)",
        )
    if "id" in item:
        return None
    name = next((name for names, name in _FILES if item.keys() >= names), None) or _by_values(item)
    return (
        OwnFile(f"{name}, which is no dataset", f"{_DATASET}, such as the one that it was made from") if name else None
    )


def _by_values(item: JsonObject) -> str | None:
    """Of files whose names differ from one to the next."""
    if item.keys() <= _STAGES and all(isinstance(value, str) for value in item.values()):
        return "the stages that were done (stages.json)"
    if all(isinstance(value, dict) and value.keys() >= {"val_loss", "runs"} for value in item.values()):
        return "the results of a sweep (lr_sweep_cumulative.json)"
    return None

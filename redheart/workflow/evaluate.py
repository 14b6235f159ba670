"""The stage ``evaluate``: any checkpoint on a split, beside the constant predictor and the simple baseline, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from redheart.baseline.comparison import compare
from redheart.baseline.run import baseline_of_run
from redheart.batches.table import SituationTable
from redheart.checkpoint import weights_identity
from redheart.checkpoint.restore import Restored, check_preset, check_vectors
from redheart.config import Config
from redheart.data.splits import Split
from redheart.embedding import EmbeddedDataset
from redheart.errors import RedHeartError
from redheart.evaluation.evaluate import evaluate_model
from redheart.machine import inference_device
from redheart.messages import info, text
from redheart.storage import read_json, write_json
from redheart.workflow.scores import Scored, record
from redheart.workflow.stages import embedded_of_run


def evaluate(
    config: Config,
    dataset: EmbeddedDataset,
    restored: Restored,
    split: Split,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Scored:
    """Scores a checkpoint and stores the numbers under ``evaluation/``.

    Args:
        dataset: what ``redheart.embedding`` opened.

    Raises:
        ConfigError: the checkpoint is of another preset than was asked for, or of vectors of another size.
        RedHeartError: the vectors are another encoder's.
        Interrupted: ``should_stop`` said so.
    """
    manifest, path = restored.manifest, restored.path
    check_preset(manifest, path, config.model.preset)
    check_vectors(manifest, path, dataset)
    table = SituationTable.open(dataset, needs=(split,))
    device = inference_device()
    evaluation = evaluate_model(restored.model.to(device), table, split, device=device, should_stop=should_stop)
    training, without = _training_data(config, manifest, table)
    baseline = baseline_of_run(training, table, [split]) if training is not None else None
    comparison = compare(
        evaluation,
        restored.model.statistics,
        baseline.predictions[split] if baseline else {},
        samples=config.report.bootstrap_samples,
        confidence=config.report.confidence,
        seed=config.seed,
        in_sample=split == "train",
    )
    scored = Scored(evaluation, comparison, baseline.description if baseline else None, without)
    # Another dataset's numbers do not take the place of the run's own.
    other = "" if dataset.path == embedded_of_run(config) else f"_{table.identity}"
    target = Path(config.output) / "evaluation" / f"{path.name.removesuffix('.pth')}_{split}{other}.json"
    about = {
        "checkpoint": str(path),
        "weights": weights_identity(manifest),
        "dataset": str(dataset.path),
        "data": table.name,
    }
    write_json(target, {**about, **record(scored)})
    info("workflow.evaluation_saved", path=target)
    return scored


def _training_data(
    config: Config, manifest: Mapping[str, Any], table: SituationTable
) -> tuple[SituationTable | None, str | None]:
    """The data that the checkpoint was trained on, which the baseline has to be fitted to; else why it is not to be had."""
    run = Path(config.output) / "run.json"
    about = read_json(run) if run.exists() else {}
    same_run = about.get("run") is not None and about.get("run") == manifest.get("run")
    trained_on = manifest.get("dataset") or (about["identity"]["dataset"] if same_run else None)
    if trained_on is None:
        return None, text("baseline.data_unknown")
    if table.identity == trained_on:
        return table, None
    path = embedded_of_run(config)
    if path is not None:
        needs: tuple[Split, ...] = ("train",)
        try:
            training = SituationTable.open(path, needs=needs)
        except (
            RedHeartError
        ) as error:  # what the evaluation itself does not need; the reason is told beside its numbers
            return None, str(error)
        if training.identity == trained_on:
            return training, None
    return None, text("baseline.data_absent", path=table.path)

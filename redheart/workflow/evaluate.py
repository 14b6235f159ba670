"""The stage ``evaluate``: a checkpoint on a split, beside the constant predictor and the simple baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from redheart.baseline.comparison import compare
from redheart.baseline.run import baseline_of_run
from redheart.batches.table import SituationTable
from redheart.checkpoint.restore import Restored, check_preset, check_vectors
from redheart.config import Config
from redheart.data.splits import Split
from redheart.embedding import EmbeddedDataset
from redheart.errors import RedHeartError
from redheart.evaluation.evaluate import evaluate_model
from redheart.facts.comparison import BaselineDescription
from redheart.facts.evaluation import StoredEvaluation, save_evaluation
from redheart.facts.model import ModelDescription
from redheart.machine import inference_device
from redheart.messages import info, text
from redheart.paths import OutputPaths
from redheart.training.run_folder import read_run
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
        should_stop=should_stop,
    )
    scored = Scored(evaluation, comparison, baseline.description if baseline else BaselineDescription(absent=without))
    # Another dataset's numbers do not take the place of the run's own.
    other = "" if dataset.path == embedded_of_run(config) else f"_{table.identity}"
    target = OutputPaths(config.output).evaluation / f"{path.name.removesuffix('.pth')}_{split}{other}.json"
    stored = StoredEvaluation(
        checkpoint=str(path),
        weights=manifest.weights_identity,
        dataset=str(dataset.path),
        data=table.name,
        **msgspec.structs.asdict(record(scored)),
    )
    save_evaluation(target, stored)
    info("workflow.evaluation_saved", path=target)
    return scored


def _training_data(
    config: Config, manifest: ModelDescription, table: SituationTable
) -> tuple[SituationTable | None, str | None]:
    """The data that the checkpoint was trained on, which the baseline has to be fitted to; else why it is not to be had."""
    run = read_run(Path(config.output))
    same_run = run is not None and run.run is not None and run.run == manifest.run
    trained_on = manifest.dataset or (run.identity.get("dataset") if same_run and run and run.identity else None)
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

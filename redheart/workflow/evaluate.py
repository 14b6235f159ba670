"""The stage ``evaluate``: a checkpoint on a split, beside the constant predictor and the simple baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from redheart.baseline.comparison import compare
from redheart.baseline.run import baseline_of_run
from redheart.batches.table import SituationTable
from redheart.batches.trained_on import leave_out_trained
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
from redheart.messages import info, text, warn
from redheart.paths import OutputPaths
from redheart.storage.writable import may_be_made
from redheart.training.run_folder import read_run
from redheart.workflow.datasets import embedded_of_run
from redheart.workflow.scores import Scored, record


def evaluate(
    config: Config,
    dataset: EmbeddedDataset,
    restored: Restored,
    split: Split,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Scored:
    """Scores a checkpoint and stores the numbers under ``evaluation/``, where that may be written.

    Args:
        dataset: what ``redheart.embedding`` opened.

    Raises:
        ConfigError: the checkpoint is of another preset than was asked for, or of vectors of another size.
        RedHeartError: the vectors are another encoder's.
        DataError: too little is left to score of what the model was not made with.
        Interrupted: ``should_stop`` said so.
    """
    manifest, path = restored.manifest, restored.path
    check_preset(manifest, path, config.model.preset)
    check_vectors(manifest, path, dataset)
    judged = leave_out_trained(
        SituationTable.open(dataset, needs=(split,)),
        manifest,
        [*list(path.absolute().parents)[:2], Path(config.output)],  # the run's folder, wherever it was brought to
        () if split == "train" else (split,),
    )
    table = judged.table
    device = inference_device()
    evaluation = evaluate_model(restored.model.to(device), table, split, device=device, should_stop=should_stop)
    training, without = _training_data(config, manifest, table)
    baseline = None
    if training is not None:
        baseline = baseline_of_run(training, table, [split], should_stop=should_stop)
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
    description = baseline.description if baseline else BaselineDescription(absent=without)
    scored = Scored(evaluation, comparison, description, judged.left_out.get(split, 0))
    # Another dataset's numbers, and those of the same one edited, do not take the place of the run's own, nor its name.
    edition = ""
    if manifest.dataset not in (None, table.identity):
        edition = table.identity
    elif judged.is_edited:
        edition = dataset.texts_identity
    is_own = not edition and dataset.path == embedded_of_run(config)
    other = "" if is_own else f"_{edition or table.identity}"
    is_namesake = edition and manifest.data is not None and manifest.data.name == table.name
    target = OutputPaths(config.output).evaluation / f"{path.name.removesuffix('.pth')}_{split}{other}.json"
    stored = StoredEvaluation(
        checkpoint=str(path),
        weights=manifest.weights_identity,
        dataset=str(dataset.path),
        data=f"{table.name} ({edition})" if is_namesake else table.name,
        **msgspec.structs.asdict(record(scored)),
    )
    if may_be_made(target):
        save_evaluation(target, stored)
        info("workflow.evaluation_saved", path=target)
    else:  # another user's run, or one on a read-only mount: its numbers are printed all the same
        warn("workflow.evaluation_not_stored", path=target)
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

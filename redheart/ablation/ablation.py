"""The stage ``ablate``: all runs that are missing, then the table, its JSON and its picture."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from redheart.ablation.pool import Run, job_of, run_here, run_in_processes, slots_of
from redheart.ablation.result import AblationResult, Row, compare
from redheart.ablation.run import Ablator, resolve
from redheart.ablation.scores import METRICS, Scorer
from redheart.ablation.variants import VARIANTS, WHOLE, shapes
from redheart.config import Config
from redheart.evaluation.intervals import Draws
from redheart.messages import info
from redheart.paths import OutputPaths
from redheart.storage import write_json

FOLDER = OutputPaths.ablation.name
RESULT, PICTURE, RUNS = "ablation.json", "ablation.png", "runs"


def run_ablation(
    config: Config,
    dataset: Path,
    output: Path,
    *,
    learning_rate: float,
    variants: Sequence[str] = VARIANTS,
    force: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    environment: Mapping[str, str] | None = None,
) -> AblationResult:
    """Trains what is missing and compares.

    Args:
        dataset: an ``.embedded.json``.
        output: the output root; everything lies in its ``ablation/``.
        learning_rate: the same for all.
        variants: some of ``VARIANTS``; the whole model is always among them.
        force: train again what is there.
        environment: what worker processes inherit; None: this process's.

    Raises:
        Interrupted: ``should_stop`` said so; finished runs are kept and the same call goes on.
        TrainingError: a variant diverged at this learning rate, or a worker died.
        StorageError: a file is damaged or can't be written.
    """
    config = resolve(config)
    folder = output / FOLDER
    ablator = Ablator(config, dataset, folder / RUNS, learning_rate)
    chosen = [variant for variant in VARIANTS if variant == WHOLE or variant in variants]
    seeds = range(config.seed, config.seed + config.ablation.seeds)
    runs = [(variant, seed) for seed in seeds for variant in chosen]
    missing = [run for run in runs if force or ablator.finished(*run) is None]
    counts = ablator.table.counts
    info(
        "ablation.start",
        variants=len(chosen),
        seeds=len(seeds),
        preset=ablator.runner.dimensions.preset,
        epochs=config.trial_epochs,
        learning_rate=learning_rate,
        train=counts["train"],
        choose=counts["choose"],
        judge=counts["judge"],
    )
    if len(missing) < len(runs):
        info("ablation.found", found=len(runs) - len(missing), total=len(runs))
    _run_missing(ablator, dataset, missing, should_stop, dict(os.environ) if environment is None else environment)
    settings = {
        "dataset": ablator.table.identity,
        "preset": ablator.runner.dimensions.preset,
        "learning_rate": learning_rate,
        "epochs": config.trial_epochs,
        "seeds": list(seeds),
        "counts": counts,
        "training": msgspec.to_builtins(config.training),
        "dropout": config.model.dropout,
    }
    result = _compare(ablator, config, chosen, list(seeds), settings)
    write_json(folder / RESULT, result.to_json())
    from redheart.ablation.plot import draw

    draw(folder / PICTURE, result)
    info("ablation.saved", path=folder / RESULT, picture=folder / PICTURE)
    return result


def _run_missing(
    ablator: Ablator,
    dataset: Path,
    missing: list[Run],
    should_stop: Callable[[], bool],
    environment: Mapping[str, str],
) -> None:
    if not missing:
        return
    slots = slots_of(ablator.config, len(missing), environment)
    info("ablation.runs", count=len(missing), slots=len(slots))
    started = time.monotonic()
    with tqdm(total=len(missing), unit="run", desc="ablation", disable=None) as bar:

        def on_done(run: Run) -> None:
            bar.set_postfix_str(f"{run[0]}, seed {run[1]}", refresh=False)
            bar.update()

        if len(slots) == 1:
            run_here(ablator, missing, should_stop=should_stop, on_done=on_done)
        else:
            job = job_of(ablator.config, dataset, ablator.folder, ablator.learning_rate)
            run_in_processes(job, missing, slots, should_stop=should_stop, on_done=on_done)
    info("ablation.trained", count=len(missing), seconds=time.monotonic() - started)


def _compare(
    ablator: Ablator, config: Config, chosen: list[str], seeds: list[int], settings: dict[str, Any]
) -> AblationResult:
    scorer = Scorer(
        ablator.table,
        "judge",
        ablator.runner.statistics,
        samples=config.report.bootstrap_samples,
        seed=config.seed,
    )
    scores: dict[str, list[dict[str, Draws]]] = {}
    rows = []
    for variant in chosen:
        stored = [ablator.finished(variant, seed) for seed in seeds]
        records = [record for record in stored if record is not None]
        assert len(records) == len(seeds)  # what was missing has been run
        scores[variant] = [scorer.score(record["predictions"]) for record in records]
        rows.append(
            Row(
                variant=variant,
                parameters=_parameters(variant, ablator),
                epochs=tuple(record["epoch"] for record in records),
                scores={
                    metric.name: tuple(one[metric.name].value for one in scores[variant])
                    for metric in METRICS
                    if all(metric.name in one for one in scores[variant])
                },
                worth={},
            )
        )
    confidence = config.report.confidence
    return AblationResult(settings, confidence, compare(rows, scores, ablator.table.counts["judge"], confidence))


def _parameters(variant: str, ablator: Ablator) -> int:
    total = 0
    for shape in shapes(variant, ablator.runner.dimensions).values():
        size = 1
        for side in shape:
            size *= side
        total += size
    return total

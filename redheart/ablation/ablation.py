"""The stage ``ablate``: trains all missing runs, then writes the table, its JSON and its plot."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from redheart.ablation.pool import run_here, run_in_processes
from redheart.ablation.result import AblationResult, AblationSettings, Row, compare
from redheart.ablation.run import Ablator, resolve
from redheart.ablation.scores import METRICS, Scorer
from redheart.ablation.variants import VARIANTS, WHOLE, shapes
from redheart.ablation.worker import Job, Run
from redheart.config import Config
from redheart.embedding import EmbeddedDataset
from redheart.errors import ConfigError
from redheart.evaluation.bootstrap import Draws
from redheart.messages import info, language, text
from redheart.paths import OutputPaths
from redheart.progress import Progress, duration
from redheart.storage import write_json
from redheart.worker_pool import FitWorkers, own_environment, plan_slots

FOLDER = OutputPaths.ablation.name
RESULT, PICTURE, RUNS = "ablation.json", "ablation.png", "runs"


def check_begins_anew(config: Config) -> None:
    """Whether every variant can begin as the configuration says.

    Raises:
        ConfigError: it asks for a checkpoint's weights: those of the whole model fit no variant without a part, and one that began
            anew beside one that did not would say nothing of the part.
    """
    if config.training.init_from is not None:
        raise ConfigError(
            f"training.init_from: found {config.training.init_from}, wanted null: an ablation trains every variant from the same "
            "random start, and the weights of the whole model fit no other; leave --init-from out, or say training.init_from=null"
        )


def run_ablation(
    config: Config,
    dataset: EmbeddedDataset | Path,
    output: Path,
    *,
    learning_rate: float,
    asked: Config | None = None,
    alike: Sequence[Config] = (),
    variants: Sequence[str] = VARIANTS,
    force: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    environment: Mapping[str, str] | None = None,
    fit: FitWorkers | None = None,
) -> AblationResult:
    """Trains what is missing and compares.

    Args:
        dataset: what ``redheart.embedding`` opened, or an ``.embedded.json``.
        output: the output root; everything lies in its ``ablation/``.
        learning_rate: the same for all.
        asked: the configuration before it was resolved, from which the runs' identities are computed; None: ``config``.
        alike: other ways of asking for the same: runs that were finished as theirs are not trained again.
        variants: some of ``VARIANTS``; the whole model is always among them.
        force: train again what is there.
        environment: what worker processes inherit; None: this process's.
        fit: how many trainings at a time memory holds, and what each trains with; None: as many as there are slots.

    Raises:
        OutOfMemory: not even one.
        Interrupted: ``should_stop`` said so; finished runs are kept and the same call goes on.
        TrainingError: a variant diverged at this learning rate, or a worker died.
        StorageError: a file is damaged or can't be written.
        ConfigError: see ``check_begins_anew``.
    """
    asked = resolve(config if asked is None else asked)
    config = resolve(config)
    folder = output / FOLDER
    same = [other for one in alike if (other := resolve(one)).model == asked.model]
    ablator = Ablator(config, dataset, folder / RUNS, learning_rate, asked=asked, alike=same)
    chosen = [variant for variant in VARIANTS if variant == WHOLE or variant in variants]
    seeds = range(config.seed, config.seed + config.ablation.seeds)
    runs = [Run(variant, seed) for seed in seeds for variant in chosen]
    missing = [run for run in runs if force or ablator.finished(run.variant, run.seed) is None]
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
    _run_missing(ablator, missing, should_stop, own_environment() if environment is None else environment, fit)
    settings = AblationSettings(
        dataset=ablator.table.identity,
        preset=ablator.runner.dimensions.preset,
        learning_rate=learning_rate,
        epochs=config.trial_epochs,
        seeds=tuple(seeds),
        counts=counts,
        training=config.training,
        dropout=config.model.dropout,
    )
    result = _compare(ablator, config, chosen, settings, should_stop)
    write_json(folder / RESULT, result.to_json())
    from redheart.ablation.plot import draw

    draw(folder / PICTURE, result)
    info("ablation.saved", path=folder / RESULT, picture=folder / PICTURE)
    return result


def _run_missing(
    ablator: Ablator,
    missing: list[Run],
    should_stop: Callable[[], bool],
    environment: Mapping[str, str],
    fit: FitWorkers | None,
) -> None:
    if not missing:
        return
    check_begins_anew(ablator.config)
    workers, config = ablator.config.ablation.workers, ablator.config
    slots = plan_slots(environment, workers=workers, tasks=len(missing)).environments
    if fit is not None:
        count, config = fit(len(slots))
        slots = slots[:count]
    info("ablation.runs", count=len(missing), slots=len(slots))
    started = time.monotonic()
    with Progress(text("progress.ablation"), len(missing), unit="run") as progress:

        def on_done(run: Run) -> None:
            progress.update()
            left = progress.time_left()
            info(
                "ablation.run",
                done=progress.done,
                total=len(missing),
                variant=run.variant,
                seed=run.seed,
                left="–" if left is None else duration(left),
            )

        if len(slots) == 1:
            run_here(ablator, missing, should_stop=should_stop, on_done=on_done)
        else:
            job = Job(
                config=config,
                asked=ablator.asked,
                dataset=str(ablator.table.path.absolute()),
                folder=str(ablator.folder.absolute()),
                learning_rate=ablator.learning_rate,
                language=language(),
            )
            run_in_processes(job, missing, slots, environment, should_stop=should_stop, on_done=on_done)
    info("ablation.trained", count=len(missing), seconds=time.monotonic() - started)


def _compare(
    ablator: Ablator,
    config: Config,
    chosen: Sequence[str],
    settings: AblationSettings,
    should_stop: Callable[[], bool],
) -> AblationResult:
    scorer = Scorer(
        ablator.table,
        "judge",
        ablator.runner.statistics,
        samples=config.report.bootstrap_samples,
        seed=config.seed,
        should_stop=should_stop,
    )
    scores: dict[str, list[dict[str, Draws]]] = {}
    rows = []
    for variant in chosen:
        stored = [ablator.finished(variant, seed) for seed in settings.seeds]
        records = [record for record in stored if record is not None]
        assert len(records) == len(settings.seeds)  # what was missing has been run
        scores[variant] = [scorer.score(record.predictions) for record in records]
        rows.append(
            Row(
                variant=variant,
                parameters=_parameters(variant, ablator),
                epochs=tuple(record.epoch for record in records),
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

"""Each stage as a function from the configuration and what earlier stages wrote; ``run.py`` puts them in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from redheart.config import Config, resolved_yaml
from redheart.errors import Interrupted, StorageError, TrainingError, UsageError
from redheart.messages import info, warn
from redheart.paths import OutputPaths
from redheart.storage import read_json, sha256_of, write_json, write_text
from redheart.workflow.group import run_group
from redheart.workflow.skipping import is_done, mark_done

if TYPE_CHECKING:
    from redheart.ablation import AblationResult

#: Taken where neither a sweep nor the user has said otherwise: AdamW's usual value for transformers of this size.
DEFAULT_LEARNING_RATE = 3e-4
Stop = Callable[[], bool]
#: Beside ``optimal_lr.json``: the data and the preset that it was chosen for.
_CHOSEN_FOR = OutputPaths.chosen_for.name


def embed(config: Config, *, should_stop: Stop = lambda: False) -> Path:
    """Locates, checks and embeds the dataset; the path of its ``.embedded.json``."""
    from redheart.data import locate_dataset
    from redheart.embedding import embed_dataset

    output = Path(config.output)
    located = locate_dataset(Path(config.data.path) if config.data.path else None, Path.cwd())
    embedded = embed_dataset(located.path, config.embedding, output_root=output, should_stop=should_stop)
    return embedded.path


def prepare(config: Config, *, should_stop: Stop = lambda: False) -> Path:
    """``embed``, and the check that the dataset is enough to train, choose and judge with.

    Raises:
        DataError: it is too small or has no targets; its vectors are kept.
    """
    from redheart.data.sufficiency import check_sufficient
    from redheart.embedding import open_embedded

    path = embed(config, should_stop=should_stop)
    check_sufficient(open_embedded(path).situations, Path(config.data.path) if config.data.path else path)
    return path


def prepare_once(config: Config, *, should_stop: Stop = lambda: False) -> Path:
    """``prepare`` in the first of several processes; the others wait and find what it wrote."""
    from redheart.engine.launch import wait_for_first_process

    with wait_for_first_process():
        return prepare(config, should_stop=should_stop)


def embed_once(config: Config, *, should_stop: Stop = lambda: False) -> Path:
    """``embed`` in the first of several processes; the others wait and find what it wrote."""
    from redheart.engine.launch import wait_for_first_process

    with wait_for_first_process():
        return embed(config, should_stop=should_stop)


def sweep_folder(config: Config) -> Path:
    return OutputPaths(config.output).sweep


def sweep(config: Config, dataset: Path, *, force: bool = False, should_stop: Stop = lambda: False) -> float:
    """Runs or continues the sweep; the learning rate it chose."""
    from redheart.embedding import open_embedded
    from redheart.sweep import run_sweep

    identity = open_embedded(dataset).identity
    found = run_sweep(config, dataset, identity, Path(config.output), force=force, should_stop=should_stop)
    write_json(sweep_folder(config) / _CHOSEN_FOR, _chosen_for(config, dataset))
    return found.learning_rate


def _chosen_for(config: Config, dataset: Path) -> dict[str, str]:
    """What a learning rate belongs to."""
    from redheart.embedding import open_embedded
    from redheart.machine import choose_preset

    return {"dataset": open_embedded(dataset).identity, "preset": choose_preset(config)[0], "path": str(dataset)}


def rebuild_sweep(config: Config) -> None:
    """Writes the cumulative file anew from the trial files."""
    from redheart.sweep import rebuild

    rebuild(Path(config.output))


def choose_learning_rate(config: Config, dataset: Path) -> float:
    """What was asked for, else the sweep's choice, else the default; says which, and warns of another data's choice."""
    if config.training.learning_rate is not None:
        info("workflow.lr_given", learning_rate=config.training.learning_rate)
        return config.training.learning_rate
    path = OutputPaths(config.output).optimal_lr
    if path.exists():
        from redheart.sweep import read_optimal_lr

        learning_rate = read_optimal_lr(path)
        info("workflow.lr_sweep", learning_rate=learning_rate, path=path)
        _warn_of_another_choice(config, dataset, path)
        return learning_rate
    warn("workflow.lr_default", path=path, learning_rate=DEFAULT_LEARNING_RATE)
    return DEFAULT_LEARNING_RATE


def _warn_of_another_choice(config: Config, dataset: Path, path: Path) -> None:
    remembered = path.with_name(_CHOSEN_FOR)
    if not remembered.exists():
        return
    then, now = read_json(remembered), _chosen_for(config, dataset)
    if (then["dataset"], then["preset"]) != (now["dataset"], now["preset"]):
        warn(
            "workflow.lr_of_another",
            path=path,
            then=f"{then['path']} ({then['preset']})",
            now=f"{now['path']} ({now['preset']})",
        )


def train(config: Config, dataset: Path, *, force: bool = False, should_stop: Stop = lambda: False) -> None:
    """Trains in this process, as one of the launcher's, or plainly alone."""
    from redheart.training.trainer import Trainer

    Trainer(
        config,
        dataset,
        Path(config.output),
        learning_rate=choose_learning_rate(config, dataset),
        force=force,
        should_stop=should_stop,
    ).run()


def train_on_all_gpus(
    config: Config, dataset: Path, count: int, *, force: bool, should_stop: Stop = lambda: False
) -> None:
    """Trains in one process a GPU, started by ``accelerate launch``; a request to stop is passed on to them.

    Raises:
        Interrupted: asked to stop, and they saved their state.
        TrainingError: the processes failed; what they said is above.
    """
    settings = OutputPaths(config.output).launch
    learning_rate = choose_learning_rate(config, dataset)
    resolved = msgspec.structs.replace(
        config, training=msgspec.structs.replace(config.training, learning_rate=learning_rate)
    )
    write_text(settings, resolved_yaml(resolved))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(count)]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["-m", "redheart", "train", "--config", str(settings), *(["--force"] if force else [])]
    info("workflow.launch", count=count, command=" ".join(command[1:]))
    code, stopped = run_group(command, should_stop=should_stop)
    if code and stopped:
        raise Interrupted("stopped; the same command goes on from there")
    if code:
        raise TrainingError(f"training in {count} processes ended with exit code {code}; see the lines above")


def embedded_of_run(config: Config) -> Path | None:
    """The embedded dataset that the run in the output folder was trained on, if there is one."""
    from redheart.training.run_folder import read_run

    run = read_run(Path(config.output))
    if run is None or run.dataset is None:
        return None
    dataset = Path(run.dataset)
    return dataset if dataset.exists() else None


def check_dataset_of_run(config: Config) -> None:
    """Refuses to take other data in silence where the run's own is not where it was.

    Raises:
        UsageError: the output folder's run names a dataset that is not there.
    """
    from redheart.training.run_folder import read_run

    run = read_run(Path(config.output))
    if run is not None and run.dataset is not None and embedded_of_run(config) is None:
        dataset = Path(run.dataset)
        seen_from = "" if dataset.is_absolute() else f" (seen from {Path.cwd()})"
        raise UsageError(
            f"{OutputPaths(config.output).run}: the run's dataset {dataset}{seen_from} is not there; go to the folder that the "
            "run was started in, or name a dataset with --data"
        )


def _metrics_file(config: Config) -> Path:
    path = OutputPaths(config.output).metrics
    if not path.exists():
        raise StorageError(f"{path}: there is no training to look at; run `redheart train` first")
    return path


def analysis_file(config: Config) -> Path:
    """Where the sweet spots are.

    Raises:
        StorageError: there are none yet.
    """
    path = OutputPaths(config.output).analysis
    if not path.exists():
        raise StorageError(f"{path}: there is no analysis; run `redheart analyze` first")
    return path


def delivered_model(config: Config) -> Path:
    """The model to use.

    Raises:
        StorageError: there is none yet.
    """
    path = OutputPaths(config.output).best_model
    if not path.exists():
        raise StorageError(
            f"{path}: there is no finished model; run `redheart crossover` first, or name a --checkpoint"
        )
    return path


def analyze(config: Config, *, force: bool = False) -> None:
    """Finds each module's best epoch."""
    from redheart.sweet_spot import analyze as find_sweet_spots

    output, metrics = Path(config.output), _metrics_file(config)
    result = OutputPaths(output).analysis
    inputs = {"metrics": sha256_of(metrics), "settings": msgspec.to_builtins(config.sweet_spot)}
    if is_done(output, "analyze", inputs, [result], force=force):
        return
    find_sweet_spots(metrics, output, config.sweet_spot)
    mark_done(output, "analyze", inputs)


def crossover(config: Config, dataset: Path, *, force: bool = False, should_stop: Stop = lambda: False) -> None:
    """Combines the chosen epochs and decides on ``judge`` which model is the one to use."""
    from redheart.batches.table import SituationTable
    from redheart.crossover import run_crossover
    from redheart.sweet_spot import load_analysis

    output = Path(config.output)
    analysis = analysis_file(config)
    inputs = {
        "metrics": sha256_of(_metrics_file(config)),
        "analysis": sha256_of(analysis),
        "settings": [msgspec.to_builtins(config.crossover), msgspec.to_builtins(config.report), config.seed],
    }
    paths = OutputPaths(output)
    results = [paths.combined, paths.best_model, paths.candidates]
    if is_done(output, "crossover", inputs, results, force=force):
        return
    run_crossover(config, output, load_analysis(output), SituationTable.open(dataset), should_stop=should_stop)
    mark_done(output, "crossover", inputs)


def ablate(
    config: Config,
    dataset: Path,
    *,
    groups: Sequence[str] | None = None,
    force: bool = False,
    should_stop: Stop = lambda: False,
) -> AblationResult:
    """Trains without each group in turn, all at one learning rate; what each is worth."""
    from redheart.ablation import run_ablation
    from redheart.ablation.run import resolve
    from redheart.ablation.variants import VARIANTS

    config = resolve(config)
    return run_ablation(
        config,
        dataset,
        Path(config.output),
        learning_rate=choose_learning_rate(config, dataset),
        variants=VARIANTS if groups is None else groups,
        force=force,
        should_stop=should_stop,
    )


def report(config: Config, *, should_stop: Stop = lambda: False) -> Path:
    """Writes curves and the report from what is there."""
    from redheart.report import build_report

    paths = OutputPaths(config.output)
    if not any(path.exists() for path in (paths.metrics, paths.sweep, paths.run)):
        raise StorageError(
            f"{config.output}: there is nothing to report on; run `redheart sweep` or `redheart train` first"
        )
    return build_report(config, Path(config.output), should_stop=should_stop)

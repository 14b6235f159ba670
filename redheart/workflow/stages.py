"""The stages, each a function from the configuration and what earlier stages wrote; ``run.py`` puts them in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from redheart.config import Config, Resolution, resolved_yaml
from redheart.errors import NotYetDone, OutOfMemory
from redheart.messages import info, warn
from redheart.paths import OutputPaths
from redheart.progress import others_speak
from redheart.storage import write_text
from redheart.workflow.datasets import Stop, say_if_data_changed
from redheart.workflow.inputs import as_stored_before, inputs_of, inputs_of_analyze, inputs_of_crossover
from redheart.workflow.resolve import (
    LearningRate,
    as_the_sweep_there,
    choose_learning_rate,
    equivalents,
    rate_origin,
    resolve,
)
from redheart.workflow.skipping import is_done, mark_done

if TYPE_CHECKING:
    from redheart.ablation import AblationResult
    from redheart.embedding import EmbeddedDataset
    from redheart.facts.learning_rate import RateOrigin
    from redheart.launching.callback import PlaceForSupervisor
    from redheart.launching.verdict import Verdict
    from redheart.plan.choice import Plan
    from redheart.sweep import ChosenFor


def sweep(config: Config, dataset: EmbeddedDataset, *, force: bool = False, should_stop: Stop = lambda: False) -> float:
    """Runs or continues the sweep; the learning rate it chose."""
    from redheart.sweep import run_sweep, write_chosen_for
    from redheart.sweep.identity import data_identity
    from redheart.workflow.strategy import workers_that_fit

    resolved = resolve(config).config
    output = Path(config.output)
    identity = data_identity(dataset.identity, dataset.texts_identity, OutputPaths(output).sweep)
    found = run_sweep(
        resolved,
        dataset.path,
        identity,
        output,
        texts=dataset.texts_identity,
        asked=as_the_sweep_there(config, identity),
        force=force,
        should_stop=should_stop,
        fit=workers_that_fit(resolved, dataset),
    )
    write_chosen_for(OutputPaths(config.output).sweep, _chosen_for(resolved, dataset))
    return found.learning_rate


def _chosen_for(config: Config, dataset: EmbeddedDataset) -> ChosenFor:
    """What a learning rate belongs to; of a resolved ``config``."""
    from redheart.sweep import ChosenFor

    return ChosenFor(dataset.identity, config.model.preset, str(dataset.path))


def rebuild_sweep(config: Config) -> None:
    """Writes the cumulative file anew from the trial files."""
    from redheart.sweep import rebuild

    rebuild(Path(config.output))


def _resolve_aloud(
    config: Config, dataset: EmbeddedDataset, *, epochs: int | None = None, takes_smallest_preset: bool = False
) -> tuple[Resolution, RateOrigin]:
    """What to train with, and where its learning rate is from; says both.

    Args:
        epochs: that are trained; None: those of the main training.
    """
    resolution, learning_rate = _say_learning_rate(config, takes_smallest_preset=takes_smallest_preset)
    epochs = config.training.epochs if epochs is None else epochs
    return resolution, _say_origin(resolution.config, dataset, learning_rate, epochs=epochs)


def _say_learning_rate(config: Config, *, takes_smallest_preset: bool = False) -> tuple[Resolution, LearningRate]:
    """What to train with; says which learning rate that is."""
    learning_rate = choose_learning_rate(config)
    resolution = resolve(config, learning_rate, takes_smallest_preset=takes_smallest_preset)
    if learning_rate.kind == "given":
        info("workflow.lr_given", learning_rate=learning_rate.value)
    elif learning_rate.kind == "sweep":
        info("workflow.lr_sweep", learning_rate=learning_rate.value, path=learning_rate.path)
    else:
        warn("workflow.lr_default", path=learning_rate.path, learning_rate=learning_rate.value)
    return resolution, learning_rate


def _say_origin(config: Config, dataset: EmbeddedDataset, chosen: LearningRate, *, epochs: int) -> RateOrigin:
    """Where the learning rate is from; says, with both values, what the sweep that chose it was made with otherwise.

    Args:
        config: resolved.
    """
    origin = rate_origin(config, dataset, chosen, epochs=epochs)
    differs = ", ".join(map(str, origin.differs))
    if not origin.is_on_record:
        warn("workflow.lr_not_on_record", path=chosen.path, differs=differs or "–")
    elif origin.differs:
        say = info if origin.is_by_design else warn
        say("workflow.lr_shorter" if origin.is_by_design else "workflow.lr_differs", path=chosen.path, differs=differs)
    return origin


def train(
    config: Config,
    dataset: EmbeddedDataset,
    *,
    force: bool = False,
    should_stop: Stop = lambda: False,
    place: PlaceForSupervisor | None = None,
) -> None:
    """Trains in this process, as one of the launcher's, or plainly alone.

    Args:
        place: where it is said how far a training has come that runs out of memory, for a caller who goes on with it then.

    Raises:
        OutOfMemory: alone it does not fit into memory, which is seen before anything starts; or it ran out.
    """
    from redheart.engine.launch_variables import is_launched
    from redheart.launching.callback import PlaceForSupervisor
    from redheart.launching.rank import is_supervised
    from redheart.launching.rendezvous import gathered
    from redheart.retention.callback import Retention
    from redheart.training.callbacks.remembered_cut import RememberedCut
    from redheart.training.trainer import Trainer
    from redheart.workflow.disk import is_short_after, say_if_full_after
    from redheart.workflow.memory import key_of_run, told_of_memory
    from redheart.workflow.strategy import fitting_alone

    resolution, origin = _resolve_aloud(config, dataset)
    trainer = Trainer(
        resolution.config,
        dataset,
        Path(config.output),
        learning_rate=resolution.learning_rate,
        rate_origin=origin,
        asked=config,
        force=force,
        should_stop=should_stop,
        callbacks=[
            Retention(
                Path(config.output),
                resolution.config,
                partial(is_short_after, resolution.config),
                partial(say_if_full_after, resolution.config),
            ),
            place or PlaceForSupervisor(),
            RememberedCut(Path(config.output), lambda run: key_of_run(run, trainer.preset)),
        ],
        settle=lambda resolved: (
            resolved if is_launched() else fitting_alone(resolved, dataset, should_stop=should_stop)
        ),
    )
    is_alone = not (is_launched() or is_supervised()) and place is None
    with told_of_memory(config, is_alone=is_alone), gathered(should_stop):
        trainer.run()


def train_on(
    config: Config, dataset: EmbeddedDataset, *, force: bool = False, should_stop: Stop = lambda: False
) -> None:
    """Trains in this process; where its memory does not suffice, goes on in another by the plan's next strategy.

    Raises:
        OutOfMemory: nothing is left that needs less; or it is seen beforehand.
    """
    from redheart.launching.callback import PlaceForSupervisor
    from redheart.workflow.memory import ran_out_here

    place = PlaceForSupervisor()
    try:
        train(config, dataset, force=force, should_stop=should_stop, place=place)
        return
    except OutOfMemory as error:
        if error.memory is None:
            raise
        found = ran_out_here(error, place.left)
    from redheart.batches.out_of_memory import give_back_memory

    give_back_memory()  # outside the handler: the exception's frames held the tensors that have to go
    _supervise(config, _words(config), after=found, should_stop=should_stop)


def is_trained(config: Config, dataset: EmbeddedDataset) -> bool:
    """Whether the very training that ``train`` would do is finished here."""
    from redheart.training.trainer import Trainer

    resolution = resolve(config, choose_learning_rate(config))
    rate, output = resolution.learning_rate, Path(config.output)
    trainer = Trainer(resolution.config, dataset, output, learning_rate=rate, asked=config)
    return trainer.folder.is_finished(config.training.epochs)


def train_by(
    plan: Plan,
    config: Config,
    *,
    force: bool,
    should_stop: Stop = lambda: False,
    make_plan: Callable[[Config], Plan] | None = None,
) -> None:
    """Trains by the strategy of a plan, under the supervisor of ``redheart launch``.

    Args:
        make_plan: of a configuration, on the hardware of ``plan``, should that strategy's memory not suffice; None: this machine.

    Raises:
        Interrupted: asked to stop, and they saved their state.
        RedHeartError: the processes failed; what they said is above.
    """
    from redheart.workflow.memory import first_cut
    from redheart.workflow.strategy import settings_of

    _say_learning_rate(config)  # where it is from they say themselves: it is the sweep's, given or not
    words = [*_words(config), *(["--force"] if force else [])]
    words += [
        f"{key}={str(value).lower()}"
        for key, value in settings_of(plan, cut=lambda one: first_cut(one, config, should_stop=should_stop)).items()
    ]
    _supervise(config, words, plan=plan, make_plan=make_plan, should_stop=should_stop)


def _words(config: Config) -> list[str]:
    """What the processes of a training are started with; writes the settings that they read.

    The learning rate is handed to them. The rest they settle themselves, on the same devices: theirs is the run that was asked
    for, by the same identity.
    """
    settings = OutputPaths(config.output).launch
    resolution = resolve(config, choose_learning_rate(config))
    write_text(settings, resolved_yaml(resolution.with_only("training.learning_rate")))
    return ["train", "--config", str(settings)]


def _supervise(
    config: Config,
    words: list[str],
    *,
    plan: Plan | None = None,
    make_plan: Callable[[Config], Plan] | None = None,
    after: Verdict | None = None,
    should_stop: Stop,
) -> None:
    from redheart.launching.command import GroupCommand
    from redheart.launching.supervisor import Supervisor
    from redheart.workflow.memory import strategies_for
    from redheart.workflow.strategy import place_of

    launch_file, processes = (None, 1) if plan is None else place_of(plan)
    command = GroupCommand.of(words, launch_file=launch_file, processes=processes)
    strategies = strategies_for(command, config, plan=plan, make_plan=make_plan)
    with others_speak():
        command.build_ahead()
        Supervisor(command, Path(config.output), should_stop=should_stop, strategies=strategies, after=after).run()


def _metrics_file(config: Config) -> Path:
    path = OutputPaths(config.output).metrics
    if not path.exists():
        command = OutputPaths(config.output).training_command
        raise NotYetDone(f"{path}: there is no training to look at; run `{command}` first")
    return path


def analysis_file(config: Config) -> Path:
    """Where the sweet spots are.

    Raises:
        NotYetDone: there are none yet.
    """
    paths = OutputPaths(config.output)
    if not paths.analysis.exists():
        raise NotYetDone(f"{paths.analysis}: there is no analysis; run `{paths.command('analyze')}` first")
    return paths.analysis


def delivered_model(config: Config) -> Path:
    """The model to use.

    Raises:
        NotYetDone: there is none yet.
    """
    paths = OutputPaths(config.output)
    if not paths.best_model.exists():
        command = paths.command("crossover")
        raise NotYetDone(
            f"{paths.best_model}: there is no finished model; run `{command}` first, or name a --checkpoint"
        )
    return paths.best_model


def analyze(
    config: Config, *, force: bool = False, is_trained_now: bool = False, should_stop: Stop = lambda: False
) -> None:
    """Finds each module's best epoch.

    Args:
        is_trained_now: the data was opened a moment ago for the very training, so it is not looked at once more.
    """
    from redheart.sweet_spot import analyze as find_sweet_spots
    from redheart.sweet_spot.analysis import render_again

    output, metrics = Path(config.output), _metrics_file(config)
    if not is_trained_now:
        say_if_data_changed(config)
    result = OutputPaths(output).analysis
    inputs = inputs_of(inputs_of_analyze(config, metrics))
    if is_done(output, "analyze", inputs, [result], force=force):
        render_again(metrics, output)
        return
    find_sweet_spots(metrics, output, config.sweet_spot, should_stop=should_stop)
    mark_done(output, "analyze", inputs)


def crossover(
    config: Config, dataset: EmbeddedDataset, *, force: bool = False, should_stop: Stop = lambda: False
) -> None:
    """Combines the chosen epochs and decides on ``judge`` which model is the one to use."""
    from redheart.batches.table import SituationTable
    from redheart.crossover import run_crossover
    from redheart.sweet_spot import load_analysis

    output = Path(config.output)
    analysis = analysis_file(config)
    record = inputs_of_crossover(config, dataset, _metrics_file(config), analysis)
    inputs, older = inputs_of(record), as_stored_before(record, output)
    paths = OutputPaths(output)
    results = [paths.combined, paths.best_model, paths.candidates]
    if is_done(output, "crossover", inputs, results, force=force, older=older):
        return
    run_crossover(config, output, load_analysis(output), SituationTable.open(dataset), should_stop=should_stop)
    mark_done(output, "crossover", inputs)


def ablate(
    config: Config,
    dataset: EmbeddedDataset,
    *,
    groups: Sequence[str] | None = None,
    force: bool = False,
    should_stop: Stop = lambda: False,
) -> AblationResult:
    """Trains without each group in turn, all at one learning rate; what each is worth."""
    from redheart.ablation import run_ablation
    from redheart.ablation.variants import VARIANTS
    from redheart.workflow.strategy import workers_that_fit

    resolution, _ = _resolve_aloud(config, dataset, epochs=config.ablation_epochs, takes_smallest_preset=True)
    return run_ablation(
        resolution.config,
        dataset,
        Path(config.output),
        asked=config,
        alike=equivalents(config)[1:],
        learning_rate=resolution.learning_rate,
        variants=VARIANTS if groups is None else groups,
        force=force,
        should_stop=should_stop,
        fit=workers_that_fit(resolution.config, dataset),
    )


def report(config: Config, *, should_stop: Stop = lambda: False) -> Path:
    """Writes curves and the report from what is there."""
    from redheart.report import build_report

    paths = OutputPaths(config.output)
    if not any(path.exists() for path in (paths.metrics, paths.sweep, paths.run)):
        raise NotYetDone(
            f"{config.output}: there is nothing to report on; run `{paths.command('sweep')}` or "
            f"`{paths.command('train')}` first"
        )
    if paths.analysis.is_file():
        from redheart.sweet_spot.analysis import render_again

        render_again(paths.metrics, Path(config.output))
    return build_report(config, Path(config.output), should_stop=should_stop)

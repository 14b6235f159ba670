"""The command ``workflow``: all stages in order, as ``run_learning.sh`` starts them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import redheart
from redheart.config import Config, with_settings
from redheart.errors import DataError, Interrupted, MissingRequirement, OutOfMemory
from redheart.machine import GIB, Machine, inspect_machine
from redheart.messages import info, text
from redheart.workflow import datasets, stages
from redheart.workflow.disk import foretell_disk
from redheart.workflow.resolve import as_the_run_there
from redheart.workflow.strategy import HERE, Described, choose_strategy, is_plain, plan_for, preset_for

if TYPE_CHECKING:
    from redheart.data.facts import DatasetFacts
    from redheart.embedding import EmbeddedDataset
    from redheart.embedding.language.reading import StorySample


def describe_machine(machine: Machine) -> None:
    """Says what was found and what follows from it."""
    for index, gpu in enumerate(machine.gpus):
        info("workflow.gpu", index=index, name=gpu.name, total=gpu.total_bytes / GIB, free=gpu.free_bytes / GIB)
    memory = machine.host_bytes / GIB
    if machine.situation == "cpu":
        info("workflow.machine_cpu", cores=machine.cores, memory=memory)
    elif machine.situation == "single_gpu":
        info("workflow.machine_single", memory=memory)
    else:
        info("workflow.machine_multi", count=len(machine.gpus), memory=memory)


def run_workflow(
    config: Config,
    *,
    mode: str,
    most_epochs: int | None,
    lr_sweep: bool,
    force: bool,
    should_stop: Callable[[], bool],
    described: Described = HERE,
) -> Path:
    """Embedding, sweep if asked for, model check, training, analysis, crossover, report.

    Args:
        most_epochs: an upper limit on ``training.epochs`` (``--samples``).
        described: hardware that this machine stands in for.

    Returns:
        The report.
    """
    started = time.monotonic()
    if most_epochs is not None:
        training = msgspec.structs.replace(config.training, epochs=min(config.training.epochs, most_epochs))
        config = msgspec.structs.replace(config, training=training)
    if not described.is_here:
        config = with_settings(config, {"model.preset": preset_for(config, described)})
    output = Path(config.output)
    info("workflow.start", version=redheart.__version__, mode=mode, output=output.absolute())
    machine = inspect_machine(output)
    describe_machine(machine)
    foretell_disk(config, crosses=True)

    names = ["embed", *(["sweep"] if lr_sweep else []), "model", "train", "analyze", "crossover", "report"]

    def begin(name: str) -> None:
        if should_stop():
            raise Interrupted("stopped between two stages; the same command goes on from there")
        info("workflow.stage", number=names.index(name) + 1, total=len(names), name=text(f"workflow.stage_{name}"))

    begin("embed")
    dataset = datasets.prepare(config, should_stop=should_stop)
    if lr_sweep:
        begin("sweep")
        stages.sweep(config, dataset, force=force, should_stop=should_stop)
    begin("model")
    from redheart.workflow.examinations.parameter_check import check_parameters

    check_parameters(dataset.d_embed)
    begin("train")
    config = as_the_run_there(config)
    _train(config, dataset, machine, described, force=force, should_stop=should_stop)
    begin("analyze")
    stages.analyze(config, force=force, is_trained_now=True, should_stop=should_stop)
    begin("crossover")
    stages.crossover(config, dataset, force=force, should_stop=should_stop)
    begin("report")
    info("workflow.embeddings_kept", count=len(dataset), path=dataset.path)
    report = stages.report(config, should_stop=should_stop)
    info("workflow.done", seconds=time.monotonic() - started, report=report)
    return report


def _train(
    config: Config,
    dataset: EmbeddedDataset,
    machine: Machine,
    described: Described,
    *,
    force: bool,
    should_stop: Callable[[], bool],
) -> None:
    """In this process, where one plain process is what the plan chooses; else in those that it takes."""
    if described.is_here and not machine.gpus:
        stages.train_on(config, dataset, force=force, should_stop=should_stop)
        return
    try:
        plan = choose_strategy(config, dataset, described)
    except OutOfMemory:
        if force or not stages.is_trained(config, dataset):
            raise
        plan = None  # what is trained takes no memory
    if plan is None:
        stages.train(config, dataset, force=force, should_stop=should_stop)
    elif is_plain(plan):
        stages.train_on(config, dataset, force=force, should_stop=should_stop)
    else:
        stages.train_by(
            plan,
            config,
            force=force,
            should_stop=should_stop,
            make_plan=partial(plan_for, dataset=dataset, described=described),
        )


def validate(config: Config) -> int:
    """Checks environment, data and configuration, and starts nothing."""
    from redheart.batches.order import BatchGeometry
    from redheart.data import locate_dataset
    from redheart.data.sufficiency import check_sufficient, warn_of_constant_targets, warn_of_repeated_texts
    from redheart.embedding.language.reading import StorySample
    from redheart.embedding.model_source import warn_of_prompt
    from redheart.workflow.examinations.doctor import examine

    machine = inspect_machine(Path(config.output))
    describe_machine(machine)
    findings = examine(config)
    from redheart.messages.log import plain

    plain("\n".join(str(finding) for finding in findings))
    located = locate_dataset(Path(config.data.path) if config.data.path else None, Path.cwd())
    sample = StorySample()
    facts = _facts_of(located.path, config, sample)
    info("workflow.valid_data", path=located.path, count=len(facts), **facts.counts)
    _say_targets(facts)
    warn_of_prompt(config.embedding)
    _say_language(sample, config.embedding.model)
    check_sufficient(facts, located.path)
    warn_of_repeated_texts(facts, located.path)
    warn_of_constant_targets(facts, located.path)
    BatchGeometry.resolve(config.training, max(1, len(machine.gpus)))
    missing = [finding for finding in findings if finding.required and not finding.ok]
    if missing:
        said = "; ".join(f"{finding.what}: {finding.fix or finding.found}" for finding in missing)
        if any(finding.is_memory for finding in missing):
            raise OutOfMemory(said, is_refusal=True)
        raise MissingRequirement(said)
    info("workflow.valid")
    return 0


def _facts_of(path: Path, config: Config, sample: StorySample) -> DatasetFacts:
    """The facts of a dataset, with all that embedding would refuse of it refused; of a broken one its targets are told first.

    Args:
        sample: takes its stories.
    """
    from redheart.data import iter_situations
    from redheart.data.facts import FactsGathering
    from redheart.embedding.embedded_json import SizeCheck, inline_vectors

    gathering, sizes = FactsGathering(), SizeCheck(path)
    try:
        for one in iter_situations(path, problem_limit=config.data.problem_limit):
            gathering.add(one)
            sizes.add(one)
            sample.add(one)
            inline_vectors(one, path=path, max_segments=config.embedding.max_segments)
    except DataError:
        _say_targets(gathering.facts())
        raise
    sizes.check()
    return gathering.facts()


def _say_language(sample: StorySample, model: str) -> None:
    """Warns of stories that the encoder can't read, by its tokenizer alone, if it is here."""
    from redheart.embedding.language.stored import say
    from redheart.embedding.language.tokenizer import find_cut
    from redheart.embedding.model_source import locate_model

    folder = locate_model(model)
    if folder is None:
        info("embedding.language_not_looked_at", model=model)
    elif (cut := find_cut(folder)) is not None:
        say(sample.read_by(cut, model))


def _say_targets(facts: DatasetFacts) -> None:
    """How many situations have a target of each task: a field that was not read shows as a number that is too small."""
    if len(facts):
        counts = ", ".join(f"{name} {count}" for name, count in facts.counts_by_task.items())
        info("data.targets", count=len(facts), targets=counts)

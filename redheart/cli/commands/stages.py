"""The workflow's stages as commands, and the workflow that runs them in order."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from redheart.cli.argument_parser import Parser
from redheart.cli.arguments import common_options, hardware_options, positive, training_options
from redheart.cli.command import Command
from redheart.cli.signals import stop_requested

if TYPE_CHECKING:
    from redheart.config import Config


def _embed(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.datasets import embed

    with stop_requested() as should_stop:
        embed(config, anew=arguments.anew, verify=arguments.verify, should_stop=should_stop)
    return 0


def _embed_options(parser: Parser) -> None:
    parser.add_argument("--inline", action="store_true", help="write vectors into the JSON as lists")
    parser.add_argument(
        "--anew", action="store_true", help="embed all again, vectors that the file brings as lists included"
    )
    parser.add_argument(
        "--verify", action="store_true", help="read all stored vectors, and embed those again that are damaged"
    )
    common_options(parser, skips=False)


EMBED = Command(
    name="embed",
    help="Turn the dataset's texts into vectors, once; what is there already is kept.",
    run=_embed,
    add_options=_embed_options,
)


def _sweep(arguments: Namespace, config: Config) -> int:
    from redheart.workflow import datasets, stages

    with stop_requested() as should_stop:
        if arguments.rebuild:
            stages.rebuild_sweep(config)
        else:
            stages.sweep(
                config,
                datasets.prepare(config, should_stop=should_stop),
                force=arguments.force,
                should_stop=should_stop,
            )
    return 0


def _sweep_options(parser: Parser) -> None:
    parser.add_argument("--workers", type=positive, metavar="N", help="trials at a time")
    parser.add_argument("--rebuild", action="store_true", help="only rebuild the cumulative file from the trial files")
    common_options(parser)


SWEEP = Command(
    name="sweep",
    help="Find a learning rate: 5 stages of 5 trials, in parallel.",
    run=_sweep,
    add_options=_sweep_options,
    trains=True,
    writes_run=lambda arguments: True,
)


def _train(arguments: Namespace, config: Config) -> int:
    from redheart.engine.launch_variables import is_first_process
    from redheart.workflow import datasets, stages
    from redheart.workflow.disk import foretell_disk
    from redheart.workflow.resolve import as_the_run_there

    with stop_requested() as should_stop:
        config = as_the_run_there(config)
        if is_first_process():
            foretell_disk(config, crosses=False)
        dataset = datasets.prepare_once(config, should_stop=should_stop)
        stages.train(config, dataset, force=arguments.force, should_stop=should_stop)
    return 0


def _train_options(parser: Parser) -> None:
    training_options(parser)
    common_options(parser)


TRAIN = Command(
    name="train",
    help="Train the model; goes on where an interrupted run of the same settings stopped.",
    run=_train,
    add_options=_train_options,
    is_alone=True,
    trains=True,
)


def _analyze(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.stages import analyze

    analyze(config, force=arguments.force)
    return 0


ANALYZE = Command(
    name="analyze",
    help="Find each module's best epoch by five techniques.",
    run=_analyze,
    is_alone=True,
)


def _crossover(arguments: Namespace, config: Config) -> int:
    from redheart.workflow import datasets, stages
    from redheart.workflow.disk import foretell_models

    with stop_requested() as should_stop:
        stages.analysis_file(config)  # before anything is embedded
        foretell_models(config.output)
        if config.data.path is not None:
            dataset = datasets.embed_for_run(config, should_stop=should_stop)
        else:
            datasets.check_dataset_of_run(config)
            dataset = datasets.open_dataset_of_run(config, should_stop=should_stop)
        stages.crossover(config, dataset, force=arguments.force, should_stop=should_stop)
    return 0


CROSSOVER = Command(
    name="crossover",
    help="Combine the chosen epochs and compare with the plain alternatives.",
    run=_crossover,
    is_alone=True,
)


def _report(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.stages import report

    with stop_requested() as should_stop:
        report(config, should_stop=should_stop)
    return 0


REPORT = Command(
    name="report",
    help="Write the report, the curves and their exports from what is there.",
    run=_report,
    is_alone=True,
)


def _workflow(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.run import run_workflow, validate
    from redheart.workflow.strategy import Described

    if arguments.mode == "validate":
        return validate(config)
    with stop_requested() as should_stop:
        run_workflow(
            config,
            mode=arguments.mode,
            most_epochs=arguments.samples,
            lr_sweep=arguments.lr_sweep,
            force=arguments.force,
            should_stop=should_stop,
            described=Described(arguments.gpus, arguments.gpu_memory, arguments.host_memory),
        )
    return 0


def _workflow_options(parser: Parser) -> None:
    parser.add_argument("mode", choices=("unified-test", "unified-train", "validate"))
    parser.add_argument("--samples", type=positive, metavar="N", help="at most N epochs")
    parser.add_argument("--lr-sweep", action="store_true", help="find the learning rate first")
    hardware_options(parser)
    training_options(parser)
    common_options(parser)


def _validate(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.run import validate

    return validate(config)


VALIDATE = Command(
    name="validate",
    help="Check environment, data and settings as a whole; start nothing, write nothing.",
    run=_validate,
    add_options=lambda parser: common_options(parser, skips=False),
    starts_nothing=lambda arguments: True,
)

WORKFLOW = Command(
    name="workflow",
    help="Run all stages in order, as run_learning.sh does.",
    run=_workflow,
    add_options=_workflow_options,
    is_alone=True,
    trains=True,
    starts_nothing=lambda arguments: arguments.mode == "validate",
)

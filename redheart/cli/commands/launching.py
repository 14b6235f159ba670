"""The command ``launch``: a training in processes that a supervisor starts, watches, and starts again where that helps."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from redheart.cli.argument_parser import Parser
from redheart.cli.arguments import at_least_none, common_options, filled, positive, training_options
from redheart.cli.command import Command
from redheart.cli.signals import stop_requested

if TYPE_CHECKING:
    from redheart.config import Config
    from redheart.plan.choice import Plan

#: The command that is started.
_STARTED = "train"


def _launch(arguments: Namespace, config: Config) -> int:
    import signal
    from pathlib import Path

    from redheart.engine.launch_variables import check_not_in_a_group
    from redheart.launching.command import GroupCommand
    from redheart.launching.supervisor import RESTARTS, Supervisor
    from redheart.progress import others_speak
    from redheart.workflow.memory import first_cut, strategies_for
    from redheart.workflow.strategy import place_of, settings_of

    check_not_in_a_group()
    words, launch_file, processes = _words(arguments), arguments.launch_file, arguments.processes
    plan: Plan | None = None
    if launch_file is None and processes is None and (plan := _plan(config)) is not None:
        launch_file, processes = place_of(plan)
        if launch_file is not None:  # one plain process settles its own, which is not kept as a setting of the run
            settings = settings_of(plan, cut=lambda one: first_cut(one, config))
            words += [f"{key}={str(value).lower()}" for key, value in settings.items()]
    command = GroupCommand.of(words, launch_file=launch_file, processes=processes)
    restarts = RESTARTS if arguments.restarts is None else arguments.restarts
    with stop_requested() as request, others_speak():
        command.build_ahead()
        Supervisor(
            command,
            Path(config.output),
            restarts=restarts,
            should_stop=request,
            stop_with=lambda: request.number or signal.SIGTERM,
            strategies=strategies_for(command, config, plan=plan),
        ).run()
    return 0


def _plan(config: Config) -> Plan | None:
    """The plan of this machine; None where nothing fits and a training lies finished: a plain process tells whether it is this one.

    Raises:
        OutOfMemory: nothing fits.
    """
    from redheart.errors import OutOfMemory
    from redheart.workflow.strategy import is_finished, plan_here

    try:
        return plan_here(config)
    except OutOfMemory:
        if is_finished(config):
            return None
        raise


def _words(arguments: Namespace) -> list[str]:
    """What the processes are started with: the command, and all options of its that were typed."""
    words = [_STARTED]
    for action in _training_parser()._actions:
        value = getattr(arguments, action.dest, None)
        if not action.option_strings or value is None or value is False:
            continue
        words += [action.option_strings[-1], *([] if value is True else [str(value)])]
    return [*words, *arguments.overrides]


def _training_parser() -> Parser:
    """The options that ``launch`` hands on."""
    parser = Parser(add_help=False)
    training_options(parser)
    common_options(parser)
    return parser


def _launch_options(parser: Parser) -> None:
    parser.usage = (
        "redheart launch [--launch-file FILE] [--processes N] [--restarts N] train [option or KEY=VALUE of train ...]"
    )
    parser.add_argument(
        "--launch-file",
        type=filled,
        metavar="FILE",
        help="an Accelerate configuration, such as launch/zero2.yaml (default: as `redheart plan` chooses)",
    )
    parser.add_argument(
        "--processes",
        type=positive,
        metavar="N",
        help="how many (default: the launch file's, or as `redheart plan` chooses)",
    )
    parser.add_argument(
        "--restarts",
        type=at_least_none,
        metavar="N",
        help="how often it is started again after a process was killed, with no newer state in between (default: 3)",
    )
    training_options(parser)
    common_options(parser)


def _settle(parser: Parser, arguments: Namespace, rest: list[str]) -> None:
    """What is started may be named; it is no argument of the parser's, which would take a setting for it."""
    if _STARTED in rest:
        rest.remove(_STARTED)


LAUNCH = Command(
    name="launch",
    help="Train in one process or several, under a supervisor that hands signals on and starts them again where that helps.",
    run=_launch,
    add_options=_launch_options,
    settle=_settle,
    is_alone=True,
    trains=True,
)

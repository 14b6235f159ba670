"""The command ``plan``: what fits on this machine, or on one that is described, and what would be chosen."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING

from redheart.cli.argument_parser import Parser
from redheart.cli.arguments import common_options, hardware_options, positive
from redheart.cli.command import Command
from redheart.cli.terminal import print_json, show
from redheart.errors import OutOfMemory

if TYPE_CHECKING:
    from redheart.config import Config


def _segments(value: str) -> int:
    from redheart.config import MAX_SEGMENTS

    number = positive(value)
    if number > MAX_SEGMENTS:
        raise argparse.ArgumentTypeError(f"found '{value}', wanted at most {MAX_SEGMENTS}, which is what a model takes")
    return number


def _plan(arguments: Namespace, config: Config) -> int:
    from redheart.workflow.examinations.plan import as_json, as_table, plan_training, refusal

    situations = arguments.situations or 0
    plan = plan_training(
        config,
        gpus=arguments.gpus,
        gpu_bytes=arguments.gpu_memory,
        host_bytes=arguments.host_memory,
        nodes=arguments.nodes,
        segments=arguments.segments,
        situations=situations,
    )
    if arguments.json:
        print_json(as_json(plan))
    else:
        show(as_table(config, plan, situations=situations))
    if plan.chosen is None:
        raise OutOfMemory(refusal(plan), is_refusal=True)
    if arguments.measure:
        from redheart.workflow.examinations import plan_measured

        show(plan_measured.as_table(plan_measured.measure_row(config, plan, plan.chosen)))
    return 0


def _settle_plan(parser: Parser, arguments: Namespace, rest: list[str]) -> None:
    described = [
        name for name in ("gpus", "gpu_memory", "host_memory", "nodes") if getattr(arguments, name) is not None
    ]
    if arguments.measure and (described or arguments.json):
        other = "json" if arguments.json else described[0].replace("_", "-")
        parser.refuse(
            f"found --measure and --{other}; wanted one of them: what is measured is this machine, as a table"
        )


def _plan_options(parser: Parser) -> None:
    hardware = hardware_options(parser)
    hardware.add_argument("--nodes", type=positive, metavar="N", help="nodes alike (default: 1)")
    parser.add_argument("--segments", type=_segments, metavar="N", help="of every situation (default: the most, 16)")
    parser.add_argument("--situations", type=positive, metavar="N", help="of the training split, to tell the hours")
    parser.add_argument(
        "--measure", action="store_true", help="take steps by what is chosen, and show the memory beside the plan's"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, in bytes and seconds, instead of a table")
    common_options(parser, skips=False)


PLAN = Command(
    name="plan",
    help="Say by which strategy a model would train in the memory that is there, and what each strategy takes.",
    run=_plan,
    add_options=_plan_options,
    settle=_settle_plan,
    starts_nothing=lambda arguments: True,
)

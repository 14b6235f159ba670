"""The argument parser. Importing this imports neither torch nor numpy, so ``--help`` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import redheart
from redheart.cli.argument_parser import Parser
from redheart.cli.command import OVERRIDE
from redheart.cli.commands import COMMANDS


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="redheart",
        description="Trains a multi-module model of moral situations and says honestly what it learned.",
        epilog="Each command reads files and writes files, can be run alone, repeated and resumed.",
    )
    parser.add_argument("--version", action="version", version=f"redheart {redheart.__version__}")
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    parsers.required = True
    for command in COMMANDS.values():
        command.add_options(parsers.add_parser(command.name, help=command.help, description=command.help))
    return parser


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What was typed; settings as ``KEY=VALUE`` may stand anywhere after the command and its mode and end up in ``overrides``, in order.

    Raises:
        SystemExit: 2, after one line that says what is wrong.
    """
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    command = COMMANDS[arguments.command]
    command.settle(parser.commands()[command.name], arguments, rest)
    arguments.overrides = [word for word in rest if command.takes_settings and OVERRIDE.fullmatch(word)]
    unknown = [word for word in rest if word not in arguments.overrides]
    if unknown:
        parser.refuse_unknown(arguments.command, unknown[0])
    return arguments

"""The argument parser. Importing this imports neither torch nor numpy, so ``--help`` answers at once."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

import redheart
from redheart.cli.argument_parser import Parser
from redheart.cli.command import OVERRIDE
from redheart.cli.commands import COMMANDS
from redheart.cli.completion import SHELLS, completion_script
from redheart.cli.misplaced import check_order, meant_by
from redheart.engine.launch_variables import check_local_rank
from redheart.errors import MissingRequirement, UsageError

_LOCAL_RANK = re.compile(r"--local[_-]rank=(.*)", re.DOTALL)
_VERSION = f"redheart {redheart.__version__}"


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="redheart",
        description="Trains a multi-module model of moral situations and says honestly what it learned.",
        epilog="Each command reads files and writes files, can be run alone, repeated and resumed.",
    )
    parser.add_argument("-V", "--version", action="version", version=_VERSION)
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    parsers.required = True
    for command in COMMANDS.values():
        command.add_options(parsers.add_parser(command.name, help=command.help, description=command.help))
    about_help, about_version = "Show this help, or that of a command.", "Show the version."
    parsers.add_parser("help", help=about_help, description=about_help).add_argument(
        "of", nargs="?", metavar="COMMAND", help="default: all of them, in short"
    )
    parsers.add_parser("version", help=about_version, description=about_version)
    about = 'Print what a shell needs to complete this command line: eval "$(redheart completion bash)".'
    parsers.add_parser("completion", help=about, description=about).add_argument("shell", choices=SHELLS)
    return parser


def _tell(parser: Parser, arguments: argparse.Namespace, rest: list[str]) -> NoReturn:
    """``help`` and ``version``, which show what the options of these names do, and ``completion``."""
    words = [getattr(arguments, "of", None), *rest]
    if rest and words not in (["doctor", "liveness"], ["doctor", "build"]):  # the one command with a word of its own
        parser.refuse_unknown(arguments.command, rest[0])
    if arguments.command == "version":
        print(_VERSION)
    elif arguments.command == "completion":
        _complete(parser, arguments.shell)
    elif arguments.of is None:
        parser.print_help()
    elif (about := parser.commands().get(arguments.of)) is None:
        parser.refuse_command(arguments.of)
    else:
        about.print_help()
    raise SystemExit(0)


def _complete(parser: Parser, shell: str) -> None:
    try:
        print(completion_script(parser, shell))
    except MissingRequirement as error:
        print(f"redheart completion: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _without_local_rank(parser: Parser, words: Sequence[str]) -> list[str]:
    """What was typed, without the number that launchers put before it (``deepspeed``: ``--local_rank=0``).

    Raises:
        SystemExit: 2: the number is another than that in the environment.
    """
    if not words or not (given := _LOCAL_RANK.fullmatch(words[0])):
        return list(words)
    try:
        check_local_rank(given[1])
    except UsageError as error:
        parser.refuse(str(error))
    return list(words[1:])


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What was typed; settings as ``KEY=VALUE`` may stand anywhere after the command and its mode and end up in ``overrides``, in order.

    Raises:
        SystemExit: 2, after one line that says what is wrong; 0 after what ``help`` and ``version`` show.
    """
    parser = build_parser()
    words = _without_local_rank(parser, sys.argv[1:] if argv is None else argv)
    check_order(parser, words)
    arguments, rest = parser.parse_known_args(words)
    if arguments.command not in COMMANDS:
        _tell(parser, arguments, rest)
    command = COMMANDS[arguments.command]
    command.settle(parser.commands()[command.name], arguments, rest)
    arguments.overrides = [word for word in rest if command.takes_settings and OVERRIDE.fullmatch(word)]
    unknown = [word for word in rest if word not in arguments.overrides]
    if unknown:
        if meant := meant_by(parser, command.name, unknown[0]):
            parser.commands()[command.name].refuse(f"unexpected '{unknown[0]}', which {meant}")
        parser.refuse_unknown(command.name, unknown[0])
    return arguments

"""The command ``runs``: which runs lie below a folder, one of them in full, several side by side."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from redheart.cli.argument_parser import Parser
from redheart.cli.arguments import filled
from redheart.cli.command import Command
from redheart.cli.terminal import print_struct, show
from redheart.paths import DEFAULT_OUTPUT

if TYPE_CHECKING:
    from redheart.config import Config


def _runs(arguments: Namespace, config: Config) -> int:
    from redheart.storage.names import check_name

    folders = [Path(folder) for folder in arguments.folders]
    for folder in folders:
        check_name(folder, "FOLDER")
    return {"ls": _list, "show": _show, "compare": _compare}[arguments.what](arguments, folders)


def _list(arguments: Namespace, folders: list[Path]) -> int:
    from redheart.inspection.run_table import list_of
    from redheart.inspection.runs import find_runs, summary_of
    from redheart.messages import text

    closed: list[OSError] = []
    found = [summary_of(run) for run in find_runs(folders or [Path(".")], closed.append)]
    if arguments.json:
        print_struct(found)
    else:
        show(list_of(found))
    for error in closed:
        print(text("inspection.not_looked_into", path=error.filename, reason=error.strerror), file=sys.stderr)
    return 0


def _show(arguments: Namespace, folders: list[Path]) -> int:
    from redheart.inspection.run_details import details_of
    from redheart.inspection.run_table import one_of
    from redheart.inspection.runs import open_run

    found = [details_of(open_run(folder)) for folder in folders or [Path(DEFAULT_OUTPUT)]]
    if arguments.json:
        print_struct(found[0] if len(found) == 1 else found)
    else:
        show("\n\n\n".join(map(one_of, found)))
    return 0


def _compare(arguments: Namespace, folders: list[Path]) -> int:
    from redheart.inspection.comparison import compare
    from redheart.inspection.comparison_table import side_by_side

    found = compare(folders)
    if arguments.json:
        print_struct(found)
    else:
        show(side_by_side(found))
    return 0


def _options(parser: Parser) -> None:
    parser.add_argument("what", choices=("ls", "show", "compare"), help="list them; one in full; several side by side")
    parser.add_argument(
        "folders",
        nargs="*",
        default=[],
        type=filled,
        metavar="FOLDER",
        help="ls: where to look, also within (default: here); show: a run (default: training); compare: two runs or more",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--lang", choices=("ko", "en"), help="language of messages (default: $REDHEART_LANG, else ko)")
    parser.epilog = "Reads what the runs stored, and writes nothing."


def _settle(parser: Parser, arguments: Namespace, rest: list[str]) -> None:
    """Folders may stand behind options."""
    if any(not word.strip() for word in rest):
        parser.refuse("found an empty FOLDER; wanted a path (is a variable unset?)")
    arguments.folders = [*arguments.folders, *(word for word in rest if not word.startswith("-"))]
    rest[:] = [word for word in rest if word.startswith("-")]


RUNS = Command(
    name="runs",
    help="List the runs below a folder, show one, or compare several.",
    run=_runs,
    add_options=_options,
    settle=_settle,
    takes_settings=False,
)

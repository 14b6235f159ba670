"""Shell completion: commands, options, their choices, files and folders, as a script by ``shtab``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from redheart.errors import MissingRequirement

SHELLS = ("bash", "zsh", "tcsh")


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """What a shell reads to complete this command line.

    Raises:
        MissingRequirement: ``shtab`` is not installed.
    """
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise MissingRequirement(
            "shell completion needs the package shtab; install it with: pip install shtab (or pip install -e '.[completion]')"
        ) from error
    for action in _actions(parser):
        if action.metavar in ("FILE", "PATH"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab's own way to be told
        elif action.metavar == "FOLDER":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell=shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The parser's own arguments and those of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)

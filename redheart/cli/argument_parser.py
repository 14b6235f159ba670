"""The parser of the program and of each command: what is wrong is said in one line, with what may have been meant."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

_MISSING = re.compile(r"the following arguments are required: (.*)")
_UNKNOWN_COMMAND = re.compile(r"argument COMMAND: invalid choice: '(.*?)' \(")


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest known option, and exits with 2."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})  # `--sample` must not pass for `--samples`

    def error(self, message: str) -> NoReturn:
        if message == "argument --lr: expected one argument":  # --lr $(cat …) where there is nothing to read
            message += ", such as 5.6e-05 (is lr_sweep_results/optimal_lr.json there?)"
        elif unknown := _UNKNOWN_COMMAND.match(message):
            self.refuse_command(unknown[1])
        elif missing := _MISSING.match(message):
            message += self._choices_of(missing[1].split(", "))
        self.refuse(message)

    def _choices_of(self, missing: list[str]) -> str:
        """What can stand for the first of the arguments that are missing, where that is a list of words."""
        for action in self._actions:
            if not action.option_strings and (action.metavar or action.dest) in missing and action.choices:
                return f"; wanted one of {', '.join(map(str, action.choices))}"
        return ""

    def refuse_command(self, word: str) -> NoReturn:
        """Says which command ``word`` may have been meant to be.

        Raises:
            SystemExit: 2.
        """
        near = _near(word, self.commands(), cutoff=0.5)
        known = f"did you mean '{near[0]}'?" if near else f"wanted one of {', '.join(self.commands())}"
        self.refuse(f"unknown command '{word}'; {known}")

    def refuse(self, message: str) -> NoReturn:
        """Ends the program.

        Raises:
            SystemExit: 2.
        """
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(2)

    def commands(self) -> dict[str, Parser]:
        """The parsers of the commands, by name."""
        return {
            name: parser
            for action in self._actions
            if isinstance(action, argparse._SubParsersAction)
            for name, parser in action.choices.items()
        }

    def options(self) -> list[str]:
        """Every option that can be typed after this parser's name."""
        return [option for action in self._actions for option in action.option_strings]

    def refuse_unknown(self, command: str, word: str) -> NoReturn:
        """Says what ``word`` may have been meant to be.

        Raises:
            SystemExit: 2.
        """
        parsers = self.commands()
        parser, option = parsers[command], word.partition("=")[0]
        elsewhere = [f"{self.prog} {name}" for name, other in parsers.items() if option in other.options()]
        near = near_options(option, parser.options())
        if elsewhere:
            what = f"'{option}' is an option of {', '.join(elsewhere)} only"
        elif not word.startswith("-"):
            what = f"unexpected '{word}'"
        else:
            what = f"unknown option '{word}'"
        parser.refuse(what + (f"; did you mean {' or '.join(map(repr, near))}?" if near else "; see --help"))


def near_options(option: str, known: list[str]) -> list[str]:
    """What an option may have been meant to be: the nearest, or of a single letter all that begin with it."""
    if re.fullmatch("-[a-zA-Z]", option):
        return [one for one in known if one.startswith(f"-{option}")]
    return _near(option, known, cutoff=0.6)


def _near(word: str, known: Iterable[str], *, cutoff: float) -> list[str]:
    """The one of ``known`` that is most like ``word``, if one is like it."""
    import difflib  # only where something is wrong

    return difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)

"""Misplaced words: options and settings before the command, two commands at once, a file without its option; said with the right order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from redheart.cli.argument_parser import Parser, near_options
from redheart.cli.command import OVERRIDE

_HELP = ("-h", "--help")
_ANSWERED_BEFORE_A_COMMAND = (*_HELP, "-V", "--version")
_OF_DATA = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def check_order(parser: Parser, words: Sequence[str]) -> None:
    """Refuses options and settings that stand before the command.

    Raises:
        SystemExit: 2, after a line that says where they belong; 0 after the help that was among them.
    """
    if not words or not _belongs_behind(words[0]):
        return
    place = _place_of_command(parser, words)
    before = [word for word in words[:place] if word != "--"]
    if set(_HELP) & set(before):
        about = parser if place is None else parser.commands()[words[place]]
        about.print_help()
        raise SystemExit(0)
    if place is None:
        _refuse_without_command(parser, before)
    _refuse_order(parser, words[place], before, words[place + 1 :])


def _belongs_behind(word: str) -> bool:
    return word not in _ANSWERED_BEFORE_A_COMMAND and (word.startswith("-") or bool(OVERRIDE.fullmatch(word)))


def _place_of_command(parser: Parser, words: Sequence[str]) -> int | None:
    """Where the command stands: the first word that is one and no option's value."""
    valued = {
        option
        for command in parser.commands().values()
        for action in command._actions
        for option in action.option_strings
        if action.nargs != 0
    }
    for place, word in enumerate(words):
        if word in parser.commands() and (place == 0 or words[place - 1] not in valued):
            return place
    return None


def _options(words: Sequence[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("-")]


def _refuse_without_command(parser: Parser, words: Sequence[str]) -> NoReturn:
    commands = parser.commands()
    takers = [name for name, one in commands.items() if set(_options(words)) <= set(one.options())]
    if takers:
        wanted = f"{parser.prog} COMMAND {_typed(words)}".rstrip()
        parser.refuse(f"found options but no command; wanted {wanted}, with one of {', '.join(takers)}")
    nowhere = [word for word in _options(words) if not any(word in other.options() for other in commands.values())]
    if not nowhere:
        parser.refuse("found options of different commands, and no command; see --help")
    near = near_options(nowhere[0], parser.options())
    parser.refuse(f"unknown option '{nowhere[0]}'; " + (f"did you mean '{near[0]}'?" if near else "see --help"))


def _refuse_order(parser: Parser, command: str, before: Sequence[str], after: Sequence[str]) -> NoReturn:
    known, aside, hint = parser.commands()[command].options(), "", ""
    wanted = [command, *before, *after]
    for option in _options(before):
        if option not in known:
            near = near_options(option, known)
            aside = f", and '{option}' is none of {parser.prog} {command}'s"
            wanted = [near[0] if word == option and near else word for word in wanted]
            hint = "" if near else f", if it were one: see {parser.prog} {command} --help"
    parser.refuse(f"options stand behind the command{aside}; wanted: {parser.prog} {_typed(wanted)}{hint}")


def _typed(words: Sequence[str]) -> str:
    import shlex  # only where something is wrong

    return shlex.join(words)


def meant_by(parser: Parser, command: str, word: str) -> str | None:
    """What a word that is no option may have been meant to be; None where nothing tells."""
    commands = parser.commands()
    own = commands[command]
    if word == command:
        return f"is there twice: wanted {parser.prog} {command}"
    if word in commands:
        return f"is a command of its own: wanted one at a time, {parser.prog} {command} or {parser.prog} {word}"
    for name, other in commands.items():
        for action in other._actions:
            if name != command and not action.option_strings and word in (action.choices or ()):
                return f"belongs to {parser.prog} {name}: wanted {parser.prog} {name} {word}"
    option = next((one for one in ("--data", "--file") if one in own.options()), None)
    if word.lower().endswith(_OF_DATA) and option is not None:
        return f"wants its option: {parser.prog} {command} {option} {_typed([word])}"
    return None

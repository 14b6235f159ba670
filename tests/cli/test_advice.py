"""What messages advise to type can be typed: the command is there, and each of its options is one that it takes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import redheart
from redheart.cli.parser import build_parser

PACKAGE = Path(redheart.__file__).parent
#: A command as it stands in a text: its name, options, what is filled in, settings.
COMMAND = re.compile(r"\bredheart ([a-z]+)((?: --[a-z-]+| [{][^}]*[}]| [a-z_]+[.][a-z_]+=[^ ]+)*)")
KNOWN = build_parser().commands()


def _text_of(node: ast.AST) -> str:
    """A literal as it is written, ``{}`` for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _commands() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every command in a literal of the package, tables of messages included, that has options or a known name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "command":
                yield from _in(f"redheart {_text_of(node.args[0])} --output {{}}")
            yield from _in(_text_of(node))


def _in(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for command, rest in COMMAND.findall(text):
        if command in KNOWN or rest:
            yield command, tuple(re.findall("--[a-z-]+", rest))


ADVISED = sorted(set(_commands()))


def test_there_is_advice_to_look_at() -> None:
    assert len(ADVISED) > 10 and ("embed", ("--data", "--anew")) in ADVISED
    assert ("crossover", ("--force", "--output")) in ADVISED


@pytest.mark.parametrize(("command", "options"), ADVISED, ids=lambda value: value if value else "-")
def test_the_command_is_there_and_takes_the_options(command: str, options: tuple[str, ...]) -> None:
    assert command in KNOWN
    assert set(options) <= set(KNOWN[command].options())

"""Every setting says what it does, is read by something, and stands on the page of settings."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import pytest

from redheart.config import schema
from redheart.config.document import docstrings, page
from redheart.config.load import KNOWN_KEYS, SECTIONS

ROOT = Path(__file__).parents[2]
STRUCTS = [found for found in vars(schema).values() if isinstance(found, type) and issubclass(found, schema.Section)]


@pytest.mark.parametrize("section", STRUCTS, ids=lambda section: section.__name__)
def test_every_setting_and_every_section_says_what_it_does(section: type[msgspec.Struct]) -> None:
    assert section.__doc__
    fields = msgspec.structs.fields(section)
    settings = {field.name for field in fields if section is not schema.Config or field.name not in SECTIONS}
    assert settings == docstrings(section).keys()


def test_the_page_of_settings_is_current() -> None:
    told = "docs/configuration.md is old: python -m redheart.config.document > docs/configuration.md"
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page(), told


def test_the_page_holds_every_setting_with_its_default() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [
        key for key in KNOWN_KEYS if key not in SECTIONS and "." not in key
    ] + [key for key in KNOWN_KEYS if "." in key]
    assert "| `training.epochs` | a whole number of at least 1 | `60` | Passes over the training split. |" in rows


def test_no_setting_is_without_effect() -> None:
    read = {
        node.attr
        for file in (ROOT / "redheart").rglob("*.py")
        if file.parent.name != "config"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert [key for key in KNOWN_KEYS if key.rpartition(".")[2] not in read] == []

"""Each kind of mistake has a type and an exit code of its own, and a row in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from redheart import errors

PAGE = Path(__file__).parents[1] / "docs" / "exit-codes.md"
KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.RedHeartError)
}


def test_no_two_kinds_share_a_code_but_those_of_what_a_user_typed() -> None:
    codes: dict[int, list[str]] = {}
    for name, kind in KINDS.items():
        codes.setdefault(kind.exit_code, []).append(name)
    shared = [names for names in codes.values() if len(names) > 1]
    assert shared == [["UsageError", "ConfigError", "DataError"]]
    assert not set(codes) & {0, 124, 126, 127, 137}, "a shell, timeout and the system use these"


def test_the_page_has_a_row_for_each_kind_with_its_code() -> None:
    rows = {
        name: int(code)
        for code, names in re.findall(r"^\| (\d+) \| ([^|]*) \|", PAGE.read_text(encoding="utf-8"), flags=re.M)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert rows == {name: kind.exit_code for name, kind in KINDS.items()}

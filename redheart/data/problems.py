"""Problems of a dataset: what is wrong, where, how a value is shown in a message, and the report of all of them."""

from __future__ import annotations

import difflib
import json
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from redheart.errors import DataError

_MAX_SHOWN = 80
#: Letters and marks by their category that leave no mark: fillers of Hangul and Braille, a joiner, selectors of variants.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0") | {
    chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
}


class Problem(NamedTuple):
    """One thing that is wrong with an item."""

    field: str | None
    found: str
    wanted: str


def shown(value: Any) -> str:
    """A value as JSON would have it, cut to what a line of a message has room for."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, (list, tuple)) and len(value) > 12:
        return f"an array of {len(value)}"
    text = visible(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def visible(text: str) -> str:
    """The text with what can't be seen or written – marks without a width, halves of surrogate pairs – as escapes."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: white space, marks without a width, fillers."""
    return all(one.isspace() or one in _UNSEEN or unicodedata.category(one) in ("Cc", "Cf") for one in text)


def kind(value: Any) -> str:
    """What JSON calls a value."""
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (int, "a number"),
        (float, "a number"),
        (str, "a string"),
        (dict, "an object"),
        (list, "an array"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def unpaired(text: str) -> bool:
    """Whether the text holds half of a surrogate pair, which is no character and can't be written as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint at the known name that was meant; "" where none is near."""
    close = difflib.get_close_matches(name.lower(), [one.lower() for one in known], n=1, cutoff=0.5)
    return next((f" (did you mean {one}?)" for one in known if close and one.lower() == close[0]), "")


class ProblemReport:
    """All that is wrong with a dataset, as lines: the first ones in full, the rest as a number."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._lines: list[str] = []
        self.count = 0

    def add(self, index: int | None, item_id: str | None, field: str | None, found: str, wanted: str) -> None:
        """Takes a problem of the item at ``index``; without one, of the file as a whole."""
        self.count += 1
        if len(self._lines) >= self._limit:
            return
        place = "" if index is None else f", item {index} (counting from 0)"
        place += "" if item_id is None else f", id {item_id}"
        place += "" if field is None else f", field {visible(field)}"
        self._lines.append(f"{self._path}{place}: found {found}; wanted {wanted}")

    def error(self) -> DataError:
        """The error that tells all of them."""
        lines = list(self._lines)
        if self.count > len(lines):
            lines.append(f"…and {self.count - len(lines)} more")
        noun = "problem" if self.count == 1 else "problems"
        return DataError(f"{self._path}: {self.count} {noun} in the dataset; nothing was written", tuple(lines))

"""A table as text: columns as wide as what stands in them, where a Korean letter takes two places."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

from redheart.messages.figures import signed

_GAP = "  "


def shown_width(text: str) -> int:
    """The places that ``text`` takes on a terminal."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int] = (), indent: str = "") -> list[str]:
    """The rows as lines, ``right`` being the columns of numbers."""
    widths = [max((shown_width(row[column]) for row in rows), default=0) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - shown_width(cell))
            cells.append(space + cell if column in right else cell + space)
        lines.append((indent + _GAP.join(cells)).rstrip())
    return lines


def wrapped(text: str, indent: str = "", *, width: int = 98) -> list[str]:
    """``text`` in lines of at most ``width`` places, cut between words, each behind ``indent``."""
    lines: list[str] = []
    line = indent
    for word in text.split():
        if line != indent and shown_width(line) + 1 + shown_width(word) > width:
            lines.append(line)
            line = indent
        line += word if line == indent else f" {word}"
    return [*lines, line]


def number(value: float | None, digits: int = 4) -> str:
    """A dash for what was not measured."""
    return "–" if value is None else f"{value:.{digits}f}"


def skill(value: float | None) -> str:
    """With its sign; a dash for what was not measured."""
    return "–" if value is None else signed(value)


def shown_time(moment: str | None) -> str:
    """Of a moment in ISO 8601 what is read at a glance."""
    return "–" if moment is None else moment[:16].replace("T", " ")


def ranges(numbers: Collection[int]) -> str:
    """``1, 3-5`` for 1, 3, 4 and 5."""
    found: list[list[int]] = []
    for one in sorted(set(numbers)):
        if found and one == found[-1][-1] + 1:
            found[-1].append(one)
        else:
            found.append([one])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found)

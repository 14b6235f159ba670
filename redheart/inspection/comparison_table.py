"""A comparison of runs as text: a letter stands for each run, and what keeps numbers from being compared is said above them."""

from __future__ import annotations

import string

from redheart.checkpoint.epoch import START, START_EPOCH
from redheart.inspection.comparison import Comparison, Difference, Row
from redheart.inspection.run_settings import shown
from redheart.inspection.run_table import cut, state_of
from redheart.inspection.text_table import aligned, number, skill
from redheart.messages import text

_INDENT = "  "


def side_by_side(found: Comparison) -> str:
    """The runs, their data, the settings that differ, and the numbers."""
    letters = _letters(len(found.runs))
    paragraphs = [_runs(found, letters), _data(found, letters), _settings(found, letters), _numbers(found, letters)]
    faults = [text("inspection.fault", fault=fault) for fault in found.faults]
    return "\n\n".join("\n".join(lines) for lines in (*paragraphs, faults) if lines)


def _letters(count: int) -> list[str]:
    return list(string.ascii_uppercase[:count]) if count <= 26 else [str(place + 1) for place in range(count)]


def _runs(found: Comparison, letters: list[str]) -> list[str]:
    rows = []
    for letter, one in zip(letters, found.runs, strict=True):
        epochs = text("inspection.epochs_of", done=one.epochs_done, all="–" if one.epochs is None else one.epochs)
        rows.append([letter, one.path, one.run or "–", one.preset or "–", epochs, state_of(one)])
    lines = aligned(rows)
    known = [one.run for one in found.runs if one.run is not None]
    if len(set(known)) < len(known):
        lines.append(text("inspection.same_run"))
    return lines


def _data(found: Comparison, letters: list[str]) -> list[str]:
    if found.same_data == "same":
        told = ", ".join(f"{split} {count}" for split, count in found.counts[0].items())
        return [text("inspection.data_same", dataset=found.datasets[0], counts=told)]
    said = {
        "texts": "inspection.data_texts",
        "different": "inspection.data_different",
        "unknown": "inspection.data_unknown",
    }
    lines = [text(said[found.same_data])]
    splits = list(dict.fromkeys(split for counts in found.counts for split in counts))
    rows = [["", text("inspection.column_data"), *splits]]
    for letter, dataset, counts in zip(letters, found.datasets, found.counts, strict=True):
        rows.append([letter, dataset or "–", *(str(counts.get(split, "–")) for split in splits)])
    return [*lines, *aligned(rows, right=range(2, 2 + len(splits)), indent=_INDENT)]


def _settings(found: Comparison, letters: list[str]) -> list[str]:
    if not found.settings:
        return [text("inspection.settings_alike")]
    rows = [[text("inspection.column_setting"), *letters]]
    rows += [[one.name, *_values(one)] for one in found.settings]
    return [text("inspection.settings_differ"), *aligned(rows, indent=_INDENT)]


def _values(one: Difference) -> list[str]:
    known = zip(one.values, one.is_known, strict=True)
    return [cut(shown(value)) if is_known else "?" for value, is_known in known]


def _numbers(found: Comparison, letters: list[str]) -> list[str]:
    if not found.rows:
        return [text("inspection.no_numbers")]
    lines = [text("inspection.numbers")]
    if not found.is_comparable:
        lines.append(text("inspection.not_comparable"))
    rows = [["", "", *letters]]
    rows += [[_split(row), _name(row), *(_shown(row, value) for value in row.values)] for row in found.rows]
    return [*lines, *aligned(rows, right=range(2, 2 + len(letters)), indent=_INDENT)]


def _split(row: Row) -> str:
    return row.split or "choose"


def _name(row: Row) -> str:
    names = {
        "best_epoch": "inspection.row_best_epoch",
        "count": "inspection.column_count",
        "loss": "inspection.column_loss",
        "mean": "inspection.column_skill",
    }
    return (
        text(names[row.name])
        if row.name in names
        else text("inspection.row_skill", task=text(f"report.task_{row.name}"))
    )


def _shown(row: Row, value: float | None) -> str:
    if value is None:
        return "–"
    if row.name == "best_epoch" and value == START_EPOCH:
        return START
    if row.name in ("best_epoch", "count"):
        return f"{value:.0f}"
    return number(value) if row.name == "loss" else skill(value)

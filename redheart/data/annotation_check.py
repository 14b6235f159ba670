"""The check of an item's annotations: votes, emotions, scores and fractions, each as numbers or with what is wrong with it.

One rule holds in every field: null is absent, and so is an object or array of nulls only. A number that misses a bound by
rounding, as averages and 32-bit floats do, is that bound. What is wrong alike with several values of a field is one problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from redheart.data.problems import kind, nearest, shown
from redheart.data.schema import FURTHER_TASKS, JsonObject
from redheart.tasks import BENTHAM_OPTIONAL, BENTHAM_REQUIRED, EMOTIONS, LABELS, Task

BENTHAM = BENTHAM_REQUIRED + BENTHAM_OPTIONAL
SUM_TOLERANCE = 0.02
#: How far beyond a bound a number is taken as the bound: 8 times the step of 32-bit floats at 1, and far below any annotation.
ROUNDING = 1e-6
#: More votes than there are people are a mistake, and their sum must stay a float.
MAX_VOTES = 1e12
_FRACTION = "a number from 0 to 1"
#: A comparison of decimal fractions, which have no exact form, is off by this at most.
_INEXACT = 1e-9
Refuse = Callable[[str, str, str], object]


class _Bounds(NamedTuple):
    """What a number may be, and how a message says so."""

    low: float
    high: float
    wanted: str


_UNIT = _Bounds(0.0, 1.0, _FRACTION)
_VOTES = _Bounds(0.0, MAX_VOTES, "a number of votes, 0 or more")


class _Fault(NamedTuple):
    """What is wrong with a number: values with equal faults are one problem."""

    what: str
    hint: str = ""


def _fault_of(value: Any, bounds: _Bounds) -> _Fault | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _Fault(kind(value), " (without quotes)" if isinstance(value, str) and _is_number(value) else "")
    if not bounds.low - ROUNDING <= value <= bounds.high + ROUNDING:  # NaN fails this too
        return _Fault("")
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _are_fractions(values: Collection[Any]) -> bool:
    """Whether all are floats of 0..1, as nearly all are: told without a call per value, of which an item has dozens."""
    for value in values:  # noqa: SIM110 – a loop is faster than all() over a generator
        if type(value) is not float or not 0.0 <= value <= 1.0:
            return False
    return True


def _are_nulls(value: Any) -> bool:
    """Whether it is an array or object of nulls only, at least one: how a table writes an annotation that is not there."""
    if not isinstance(value, (dict, list)) or not value:
        return False
    return all(one is None for one in (value.values() if isinstance(value, dict) else value))


def _plain_emotions(value: Any) -> tuple[float, ...] | None:
    """The numbers of an annotation without a fault in its form; None: it has to be looked at closely."""
    if len(value) != len(EMOTIONS):
        return None
    if type(value) is list:
        return tuple(value) if _are_fractions(value) else None
    if type(value) is not dict or not _are_fractions(value.values()):
        return None
    return tuple(value[name] for name in EMOTIONS) if all(name in value for name in EMOTIONS) else None


def _plain_votes(value: JsonObject, known: Collection[str]) -> dict[str, float] | None:
    """Votes without a fault, one at least above 0; None: they have to be looked at closely."""
    for label, count in value.items():
        if type(count) is not int or not 0 <= count <= MAX_VOTES or label not in known:
            return None
    return {label: float(count) for label, count in value.items()} if any(value.values()) else None


class AnnotationCheck:
    """The check of one item's annotations.

    Attributes:
        rounded: how many numbers missed a bound by rounding and were taken as the bound.
    """

    def __init__(self, item: JsonObject, refuse: Refuse) -> None:
        self.rounded = 0
        self._item = item
        self._refuse = refuse

    def label(self) -> str | None:
        """Who is in the wrong."""
        value = self._item.get("label")
        if value is None:
            return None
        wanted = "one of " + ", ".join(LABELS)
        if not isinstance(value, str):
            self._refuse("label", f"{kind(value)}: {shown(value)}", wanted)
        elif value in LABELS:
            return value
        elif value.strip().upper() in LABELS:
            self._refuse("label", shown(value), f"{wanted} (did you mean {value.strip().upper()}, in upper case?)")
        else:
            self._refuse("label", shown(value), wanted + nearest(value, LABELS))
        return None

    def fraction(self, field: str) -> float | None:
        """A number of 0..1."""
        value = self._item.get(field)
        return None if value is None else self._numbers(field, {field: value}, _UNIT).get(field)

    def votes(self, field: str, known: Sequence[str]) -> dict[str, float] | None:
        """Weights of ``known`` names, at least one above 0."""
        value = self._item.get(field)
        if value is None:
            return None
        plain = _plain_votes(value, known) if type(value) is dict else None
        if plain is not None:
            return plain
        votes = self._mapping(field, value, known, "votes")
        if votes is None or (not votes and _are_nulls(value)):
            return None
        good = self._numbers(field, votes, _VOTES)
        if len(good) == len(votes) and not any(good.values()) and all(name in known for name in value):
            self._refuse(field, f"votes that sum to 0: {shown(value)}", f"at least one vote (or no {field})")
        return good

    def emotions(self) -> tuple[float, ...] | None:
        """A distribution in the order of ``EMOTIONS``."""
        value = self._item.get("emotions")
        if value is None:
            return None
        plain = _plain_emotions(value) if isinstance(value, (list, dict)) else None
        good = plain or self._checked_emotions(value)
        if good is not None and abs(math.fsum(good) - 1.0) > SUM_TOLERANCE + _INEXACT:
            self._refuse("emotions", f"a sum of {math.fsum(good):.4g}", f"a sum of 1 within {SUM_TOLERANCE}")
        return good

    def scores(self, field: str, known: Sequence[str]) -> dict[str, float] | None:
        """Numbers of 0..1 by ``known`` names, of which any may be absent."""
        value = self._item.get(field)
        if type(value) is dict and _are_fractions(value.values()) and all(name in known for name in value):
            return dict(value)
        given = self._mapping(field, value, known, "numbers from 0 to 1")
        return None if given is None else self._numbers(field, given, _UNIT)

    def further(self) -> dict[str, dict[str, float]]:
        """What the fields of ``FURTHER_TASKS`` hold, by task."""
        found = {task.name: self._annotation(task) for task in FURTHER_TASKS}
        return {name: given for name, given in found.items() if given is not None}

    def _annotation(self, task: Task) -> dict[str, float] | None:
        """What a task's field holds, by dimension; a single number may stand without its name."""
        if task.is_distribution:
            return self.votes(task.field, task.dimensions)
        if len(task.dimensions) > 1:
            return self.scores(task.field, task.dimensions)
        number = self.fraction(task.field)
        return None if number is None else {task.dimensions[0]: number}

    def _numbers(self, field: str, values: JsonObject, bounds: _Bounds) -> dict[str, float]:
        """The good ones of ``values``, by their names; the others are refused, those with one fault together."""
        good: dict[str, float] = {}
        faulty: dict[_Fault, JsonObject] = {}
        for name, value in values.items():
            fault = _fault_of(value, bounds)
            if fault is not None:
                faulty.setdefault(fault, {})[name] = value
                continue
            good[name] = min(max(float(value), bounds.low), bounds.high)
            self.rounded += good[name] != value
        for fault, those in faulty.items():
            wanted = bounds.wanted + fault.hint
            if len(those) > 1:
                what = fault.what or "a number out of bounds"
                listed = ", ".join(f"{name}: {shown(value)}" for name, value in those.items())
                self._refuse(field, f"{what} in {len(those)} of {len(values)} values ({listed})", wanted)
                continue
            ((name, value),) = those.items()
            place = field if name == field else f"{field}.{name}"
            if field == "emotions" and isinstance(self._item[field], list):
                place = f"emotions[{EMOTIONS.index(name)}] ({name})"
            self._refuse(place, f"{fault.what}: {shown(value)}" if fault.what else shown(value), wanted)
        return good

    def _mapping(self, field: str, value: Any, known: Sequence[str], what: str) -> JsonObject | None:
        """The mapping without its nulls; None where it is absent or none."""
        if value is None or (isinstance(value, list) and _are_nulls(value)):
            return None
        if not isinstance(value, dict):
            self._refuse(field, f"{kind(value)}: {shown(value)}", f"an object of {what}: {', '.join(known)}")
            return None
        self._refuse_unknown(field, [name for name in value if name not in known], known)
        return {name: one for name, one in value.items() if one is not None and name in known}

    def _refuse_unknown(self, field: str, unknown: Sequence[str], known: Sequence[str]) -> None:
        wanted = ", ".join(known)
        if len(unknown) == 1:
            hint = nearest(unknown[0], known)
            self._refuse(f"{field}.{unknown[0]}", f"an unknown name {shown(unknown[0])}", f"{wanted}{hint}")
        elif unknown:
            listed = ", ".join(shown(name) + nearest(name, known) for name in unknown)
            self._refuse(field, f"{len(unknown)} unknown names: {listed}", wanted)

    def _checked_emotions(self, value: Any) -> tuple[float, ...] | None:
        """The numbers in the order of ``EMOTIONS``; None where one is missing or was refused, or where nothing is annotated."""
        wanted = f"{len(EMOTIONS)} numbers from 0 to 1 ({', '.join(EMOTIONS)})"
        if isinstance(value, dict):
            named = self._named_emotions(value, wanted)
        elif not isinstance(value, list):
            self._refuse("emotions", f"{kind(value)}: {shown(value)}", wanted)
            return None
        elif _are_nulls(value):
            return None
        elif len(value) != len(EMOTIONS):
            self._refuse("emotions", f"{len(value)} values: {shown(value)}", wanted)
            return None
        else:
            named = dict(zip(EMOTIONS, value, strict=True))
        if named is None:
            return None
        numbers = self._numbers("emotions", named, _UNIT)
        return tuple(numbers[name] for name in EMOTIONS) if len(numbers) == len(EMOTIONS) else None

    def _named_emotions(self, value: JsonObject, wanted: str) -> JsonObject | None:
        named = self._mapping("emotions", value, EMOTIONS, "numbers") or {}
        missing = [name for name in EMOTIONS if name not in named]
        all_known = set(value) <= set(EMOTIONS)  # else a wrong name was refused, and is likely the missing one
        if missing and all_known and not _are_nulls(value):
            self._refuse("emotions", f"no value for {', '.join(missing)}", wanted)
        if missing or len(value) != len(EMOTIONS):
            return None
        return named

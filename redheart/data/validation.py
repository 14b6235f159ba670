"""The validation of one JSON value: a ``Situation``, or the list of everything that is wrong with it.

Nothing is guessed or repaired: a value that is not what the field asks for is refused, with what was found and what is
wanted. null stands for absent, except for ``id`` and ``text``. Fields that are not known are kept and only have to be
JSON that can be written again.

A label that is not among the highest-voted is not refused: a dataset may settle ties and thresholds by rules of its
own, and the votes, not the label, are the target where there are votes. The reader warns once, with the count.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Sequence
from typing import Any

from redheart.data.problems import Problem, kind, nearest, shown, unpaired
from redheart.data.schema import FURTHER_TASKS, JsonObject, Situation
from redheart.tasks import BENTHAM_OPTIONAL, BENTHAM_REQUIRED, EMOTIONS, LABELS, SURD, Task

BENTHAM = BENTHAM_REQUIRED + BENTHAM_OPTIONAL
#: What is read; other fields are kept.
KNOWN_FIELDS = frozenset(
    (set(Situation.__dataclass_fields__) - {"raw", "further"}) | {task.field for task in FURTHER_TASKS}
)
MAX_ID_LENGTH = 256
SUM_TOLERANCE = 0.02
#: More votes than there are people are a mistake, and their sum must stay a float.
MAX_VOTES = 1e12
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _are_fractions(values: Collection[Any]) -> bool:
    """Whether all are floats of 0..1, as nearly all are: told without a call per value, of which an item has dozens."""
    for value in values:  # noqa: SIM110 – a loop is faster than all() over a generator
        if type(value) is not float or not 0.0 <= value <= 1.0:
            return False
    return True


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


class ItemCheck:
    """The check of one item: ``situation`` where it is good, else ``problems``."""

    def __init__(self, value: Any, duplicate_keys: Sequence[str] = ()) -> None:
        self.problems: list[Problem] = []
        self.situation: Situation | None = None
        self.label_disagrees = False
        for key in duplicate_keys:
            self._refuse(key, "the same name twice in one object", "every name once")
        if not isinstance(value, dict):
            self._refuse(None, f"{kind(value)}: {shown(value)}", "an object with id and text")
            return
        self._item: JsonObject = value
        situation = self._read()
        if not self.problems:
            self.situation = situation

    def _refuse(self, field: str | None, found: str, wanted: str) -> None:
        self.problems.append(Problem(field, found, wanted))

    def _read(self) -> Situation:
        item = self._item
        raw = dict(item)
        raw.pop("embedding", None)
        label = self._label(item.get("label"))
        votes = self._votes("label_scores", LABELS)
        if label is not None and votes:
            self.label_disagrees = votes.get(label, 0.0) < max(votes.values())
        situation = Situation(
            id=self._id(),
            text=self._string("text", required=True) or "",
            title=self._string("title"),
            action=self._string("action"),
            label=label,
            label_scores=votes,
            emotions=self._emotions(item.get("emotions")),
            regret_factor=self._fraction("regret_factor", item.get("regret_factor")),
            bentham_scores=self._scores("bentham_scores", BENTHAM),
            surd_metrics=self._scores("surd_metrics", SURD),
            further=self._further(),
            embedding=self._embedding(item.get("embedding")),
            embedding_key=self._string("embedding_key"),
            raw=raw,
        )
        if not item.keys() <= KNOWN_FIELDS:
            for name, value in item.items():
                if name not in KNOWN_FIELDS:
                    self._check_writable(name, value)
        return situation

    def _id(self) -> str:
        if "id" not in self._item:
            self._refuse("id", "nothing", "a string, unique in the dataset")
            return ""
        value = self._item["id"]
        if not isinstance(value, str):
            hint = f' (in quotes: "{value}")' if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
            self._refuse("id", f"{kind(value)}: {shown(value)}", f"a string{hint}")
            return ""
        if not value.strip():
            self._refuse("id", f"a blank string: {shown(value)}", "a string with something in it")
        elif len(value) > MAX_ID_LENGTH:
            self._refuse("id", f"{len(value)} characters: {shown(value)}", f"at most {MAX_ID_LENGTH} characters")
        elif unpaired(value) or _CONTROL.search(value):
            self._refuse("id", f"control characters or half a surrogate pair: {shown(value)}", "printable text")
        return value

    def _string(self, field: str, *, required: bool = False) -> str | None:
        value = self._item.get(field)
        if value is None:
            if required:
                found = "null" if field in self._item else "nothing"
                self._refuse(field, found, "a string with the story")
            return None
        if not isinstance(value, str):
            self._refuse(field, f"{kind(value)}: {shown(value)}", "a string")
            return None
        if unpaired(value):
            self._refuse(field, "half a surrogate pair (\\ud800–\\udfff alone)", "text that UTF-8 can hold")
        elif not value.strip():
            if required:
                self._refuse(field, "an empty string" if not value else "only white space", "a string with the story")
            return None
        return value

    def _number(self, field: str, value: Any, low: float, high: float, wanted: str) -> float | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            hint = ""
            if isinstance(value, str):
                try:
                    float(value)
                    hint = " (without quotes)"
                except ValueError:
                    hint = ""
            self._refuse(field, f"{kind(value)}: {shown(value)}", wanted + hint)
            return None
        if not low <= value <= high:  # NaN fails this too
            self._refuse(field, shown(value), wanted)
            return None
        return float(value)

    def _fraction(self, field: str, value: Any) -> float | None:
        return None if value is None else self._number(field, value, 0.0, 1.0, "a number from 0 to 1")

    def _label(self, value: Any) -> str | None:
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

    def _mapping(self, field: str, value: Any, known: Sequence[str], what: str) -> JsonObject | None:
        """The mapping without its nulls; None where absent, or where it or one of its names was refused."""
        if value is None:
            return None
        if not isinstance(value, dict):
            self._refuse(field, f"{kind(value)}: {shown(value)}", f"an object of {what}: {', '.join(known)}")
            return None
        unknown = [name for name in value if name not in known]
        for name in unknown:
            self._refuse(
                f"{field}.{name}", f"an unknown name {shown(name)}", f"{', '.join(known)}{nearest(name, known)}"
            )
        return {name: one for name, one in value.items() if one is not None and name in known}

    def _further(self) -> dict[str, dict[str, float]]:
        found = {task.name: self._annotation(task) for task in FURTHER_TASKS}
        return {name: given for name, given in found.items() if given is not None}

    def _annotation(self, task: Task) -> dict[str, float] | None:
        """What a task's field holds, by dimension; a single number may stand without its name."""
        if task.is_distribution:
            return self._votes(task.field, task.dimensions)
        if len(task.dimensions) > 1:
            return self._scores(task.field, task.dimensions)
        number = self._fraction(task.field, self._item.get(task.field))
        return None if number is None else {task.dimensions[0]: number}

    def _votes(self, field: str, known: Sequence[str]) -> dict[str, float] | None:
        value = self._item.get(field)
        if value is None:
            return None
        plain = _plain_votes(value, known) if type(value) is dict else None
        if plain is not None:
            return plain
        votes = self._mapping(field, value, known, "votes")
        if votes is None:
            return None
        numbers = {
            label: self._number(f"{field}.{label}", count, 0.0, MAX_VOTES, "a number of votes, 0 or more")
            for label, count in votes.items()
        }
        good = {label: count for label, count in numbers.items() if count is not None}
        if len(good) == len(votes) and not any(good.values()) and all(name in known for name in value):
            self._refuse(field, f"votes that sum to 0: {shown(value)}", f"at least one vote (or no {field})")
        return good

    def _emotions(self, value: Any) -> tuple[float, ...] | None:
        if value is None:
            return None
        plain = _plain_emotions(value) if isinstance(value, (list, dict)) else None
        good = plain or self._checked_emotions(value)
        if (
            good is not None and abs(math.fsum(good) - 1.0) > SUM_TOLERANCE + 1e-9
        ):  # decimal fractions don't sum exactly
            self._refuse("emotions", f"a sum of {math.fsum(good):.4g}", f"a sum of 1 within {SUM_TOLERANCE}")
        return good

    def _checked_emotions(self, value: Any) -> tuple[float, ...] | None:
        """The numbers in the order of ``EMOTIONS``; None where one is missing or was refused."""
        wanted = f"{len(EMOTIONS)} numbers from 0 to 1 ({', '.join(EMOTIONS)})"
        if isinstance(value, dict):
            fields = self._named_emotions(value, wanted)
        elif not isinstance(value, list):
            self._refuse("emotions", f"{kind(value)}: {shown(value)}", wanted)
            return None
        elif len(value) != len(EMOTIONS):
            self._refuse("emotions", f"{len(value)} values: {shown(value)}", wanted)
            return None
        else:
            fields = {f"emotions[{place}] ({EMOTIONS[place]})": one for place, one in enumerate(value)}
        if fields is None:
            return None
        numbers = [self._number(field, one, 0.0, 1.0, "a number from 0 to 1") for field, one in fields.items()]
        good = tuple(number for number in numbers if number is not None)
        return good if len(good) == len(numbers) else None

    def _named_emotions(self, value: dict[Any, Any], wanted: str) -> JsonObject | None:
        named = self._mapping("emotions", value, EMOTIONS, "numbers") or {}
        missing = [name for name in EMOTIONS if name not in named]
        if missing and set(value) <= set(EMOTIONS):  # else a wrong name was refused, and is likely the missing one
            self._refuse("emotions", f"no value for {', '.join(missing)}", wanted)
        if missing or len(value) != len(EMOTIONS):
            return None
        return {f"emotions.{name}": named[name] for name in EMOTIONS}

    def _scores(self, field: str, known: Sequence[str]) -> dict[str, float] | None:
        value = self._item.get(field)
        if type(value) is dict and _are_fractions(value.values()) and all(name in known for name in value):
            return dict(value)
        given = self._mapping(field, value, known, "numbers from 0 to 1")
        if given is None:
            return None
        scores = {name: self._fraction(f"{field}.{name}", one) for name, one in given.items()}
        return {name: score for name, score in scores.items() if score is not None}

    def _embedding(self, value: Any) -> Any:
        """Vectors written as lists: one, or several of one size. Returns float32 ``(vectors, d_embed)``."""
        if value is None:
            return None
        import numpy as np

        wanted = "a vector, or an array of vectors of one size, of finite numbers"
        rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
        if not all(isinstance(row, list) and row for row in rows) or len({len(row) for row in rows}) > 1:
            self._refuse("embedding", f"{kind(value)} of no or different sizes: {shown(value)}", wanted)
            return None
        if not all(type(number) in (float, int) for row in rows for number in row):
            self._refuse("embedding", "something other than numbers in it", wanted)
            return None
        try:
            with np.errstate(over="ignore"):  # refused below
                vectors = np.asarray(rows, np.float32)
        except OverflowError:
            vectors = np.full((1, 1), np.inf, np.float32)
        if not np.isfinite(vectors).all():
            self._refuse("embedding", "NaN, Infinity or a number beyond 32-bit floats", wanted)
            return None
        return vectors

    def _check_writable(self, name: str, value: Any) -> None:
        """An unknown field is kept, so it must be JSON that can be written again."""
        try:
            if type(value) is str:
                value.encode("utf-8")
            else:
                json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
        except ValueError as error:
            halves = isinstance(error, UnicodeEncodeError)
            found = "half a surrogate pair (\\ud800–\\udfff alone)" if halves else "NaN or Infinity"
            self._refuse(name, found, "values that JSON and UTF-8 can hold")
        if unpaired(name):
            self._refuse(name.encode("unicode_escape").decode(), "half a surrogate pair in a name", "text")

"""The validation of one JSON value: a ``Situation``, or the list of everything that is wrong with it.

Nothing is guessed or repaired but what rounding did: a value that is not what the field asks for is refused, with what was
found and what is wanted. null stands for absent, except for ``id`` and ``text``. Fields that are not known are kept and only have to be
JSON that can be written again.

A label that is not among the highest-voted is not refused: a dataset may settle ties and thresholds by rules of its
own, and the votes, not the label, are the target where there are votes. The reader warns once, with the count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from redheart.data.annotation_check import BENTHAM, AnnotationCheck
from redheart.data.field_names import KNOWN_FIELDS, READ_FIELDS, likely_name, misspelt
from redheart.data.files.other_forms import keys_of
from redheart.data.problems import Problem, is_blank, kind, shown, unpaired
from redheart.data.schema import JsonObject, Situation
from redheart.tasks import LABELS, SURD

MAX_ID_LENGTH = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ItemCheck:
    """The check of one item: ``situation`` where it is good, else ``problems``.

    Attributes:
        label_disagrees: the label is not among the highest-voted.
        rounded: numbers that were taken as the bound that they missed by rounding.
        unknown: names of fields that are kept and not read.
        misspelt: those of them that are likely meant for a known one, with that one. For the reader to tell, once for all items.
    """

    def __init__(self, value: Any, duplicate_keys: Sequence[str] = ()) -> None:
        self.problems: list[Problem] = []
        self.situation: Situation | None = None
        self.label_disagrees = False
        self.rounded = 0
        self.unknown: list[str] = []
        self.misspelt: dict[str, str] = {}
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
        annotations = AnnotationCheck(item, self._refuse)
        label = annotations.label()
        votes = annotations.votes("label_scores", LABELS)
        if label is not None and votes:
            self.label_disagrees = votes.get(label, 0.0) < max(votes.values())
        situation = Situation(
            id=self._id(),
            text=self._string("text", required=True) or "",
            title=self._string("title"),
            action=self._string("action"),
            label=label,
            label_scores=votes,
            emotions=annotations.emotions(),
            regret_factor=annotations.fraction("regret_factor"),
            bentham_scores=annotations.scores("bentham_scores", BENTHAM),
            surd_metrics=annotations.scores("surd_metrics", SURD),
            further=annotations.further(),
            embedding=self._embedding(item.get("embedding")),
            embedding_key=self._string("embedding_key"),
            raw=raw,
        )
        self.rounded = annotations.rounded
        if not item.keys() <= KNOWN_FIELDS:
            self.unknown = [name for name in item if name not in KNOWN_FIELDS]
            self.misspelt = dict(misspelt(item))
        if not item.keys() <= READ_FIELDS:
            for name, value in item.items():
                if name not in READ_FIELDS:
                    self._check_writable(name, value)
        return situation

    def _there(self) -> str:
        return f" (the keys that are there: {keys_of(self._item)})" if self._item else " (an empty object)"

    def _id(self) -> str:
        if "id" not in self._item:
            self._refuse(
                "id", f"nothing{self._there()}", f"a string, unique in the dataset{likely_name('id', self._item)}"
            )
            return ""
        value = self._item["id"]
        if not isinstance(value, str):
            hint = f' (in quotes: "{value}")' if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
            self._refuse("id", f"{kind(value)}: {shown(value)}", f"a string{hint}")
            return ""
        if is_blank(value):
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
                found = "null" if field in self._item else f"nothing{self._there()}"
                self._refuse(field, found, f"a string with the story{likely_name(field, self._item)}")
            return None
        if not isinstance(value, str):
            self._refuse(field, f"{kind(value)}: {shown(value)}", "a string")
            return None
        if unpaired(value):
            self._refuse(field, "half a surrogate pair (\\ud800–\\udfff alone)", "text that UTF-8 can hold")
        elif is_blank(value):
            if required:
                found = "only white space" if value else "an empty string"
                if value.strip():
                    found = f"an empty story, only characters that can't be seen: {shown(value)}"
                self._refuse(field, found, "a string with the story")
            return None
        return value

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

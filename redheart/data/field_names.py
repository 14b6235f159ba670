"""Names of fields that an item has and that are not the schema's: which of them were meant for one that it lacks."""

from __future__ import annotations

from collections.abc import Iterator

from redheart.data.problems import is_blank, shown
from redheart.data.schema import FURTHER_TASKS, JsonObject, Situation

#: What an item may hold for a reader: the required fields and the annotations.
_MEANT = (
    *("id", "text", "title", "action", "label", "label_scores", "emotions", "regret_factor", "bentham_scores"),
    *("surd_metrics", *(task.field for task in FURTHER_TASKS)),
)
#: What is read; other fields are kept.
READ_FIELDS = frozenset(
    (set(Situation.__dataclass_fields__) - {"raw", "further"}) | {task.field for task in FURTHER_TASKS}
)
#: What is no one's mistake: also what embedding writes, and when an item was made.
KNOWN_FIELDS = READ_FIELDS | {"embedding_kinds", "timestamp"}
#: Words that annotators and libraries put behind the name of what was measured.
_MEASURES = frozenset(
    [
        "score",
        "scores",
        "metric",
        "metrics",
        "factor",
        "factors",
        "value",
        "values",
        "level",
        "levels",
        "vector",
        "rating",
        "ratings",
    ]
)

#: Under what names other datasets have what is required here.
_ELSEWHERE = {
    "id": ("idx", "index", "uid", "uuid", "guid", "key", "post_id", "story_id", "item_id", "sample_id", "example_id"),
    "text": (
        "story", "body", "selftext", "content", "post", "scenario", "situation", "narrative", "input", "sentence",
        "description", "context", "prompt",
    ),
}  # fmt: skip


def plain_name(name: str) -> str:
    """A name without its case, what joins its words, and what can't be seen: "\\ufeffID", "_id" and "Id" are "id"."""
    seen = "".join(one if one.isalnum() else "_" for one in name.lower() if not is_blank(one))
    return "_".join(word for word in seen.split("_") if word)


def likely_name(field: str, item: JsonObject) -> str:
    """A hint at the name under which an item has the required ``field``; "" where none is likely."""
    names = {plain_name(name): name for name, value in reversed(item.items()) if isinstance(value, (str, int, float))}
    found = next((names[one] for one in (field, *_ELSEWHERE.get(field, ())) if one in names), None)
    if found is None and field == "text":
        found = next(
            (name for plain, name in names.items() if plain not in KNOWN_FIELDS and _edits(plain, field) == 1), None
        )
    return "" if found is None else f" (did you mean the one under {shown(found)}? rename it to {field})"


def misspelt(item: JsonObject) -> Iterator[tuple[str, str]]:
    """Fields that are not known, each with the known one that it is close to and that the item lacks.

    ``id`` and ``text`` are not among them: that they are missing is a problem of its own, with a hint.
    """
    lacking = [field for field in _MEANT[2:] if item.get(field) is None]
    for name, value in item.items():
        if name in KNOWN_FIELDS or value is None:
            continue
        meant = next((field for field in lacking if _are_close(plain_name(name), field)), None)
        if meant is not None:
            yield name, meant


def _are_close(name: str, field: str) -> bool:
    """Whether a plain name is likely a slip for ``field``.

    It is where only case, plural or joints differ, where it is the field's first word, alone or with another measure
    (``regret``, ``surd_scores``), or a letter or two are wrong.
    """
    if _stem(name) == _stem(field):
        return True
    words, wanted = name.split("_"), field.split("_")
    if _stem(words[0]) == _stem(wanted[0]) and field not in ("label", "label_scores", "action", "title"):
        return len(words) == 1 or (len(words) == 2 and words[1] in _MEASURES)
    most = 1 if len(field) < 10 else 2
    return len(name) > 3 and _edits(name, field) <= most


def _stem(name: str) -> str:
    return "".join(word.removesuffix("s") for word in name.split("_"))


def _edits(one: str, other: str) -> int:
    """Letters added, left out, changed or swapped with their neighbour between two words.

    Counted, because a share of common letters as difflib's takes "reaction" for "action" sooner than "txet" for "text".
    """
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        current = [row]
        for column, wanted in enumerate(other, 1):
            cost = min(last[column] + 1, current[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                cost = min(cost, before[column - 2] + 1)
            current.append(cost)
        before, last = last, current
    return last[-1]

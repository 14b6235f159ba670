"""Names of fields that an item has and that are not the schema's: which of them were meant for one that it lacks."""

from __future__ import annotations

from redheart.data.problems import is_blank, shown
from redheart.data.schema import JsonObject

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
    return "" if found is None else f" (did you mean the one under {shown(found)}? rename it to {field})"

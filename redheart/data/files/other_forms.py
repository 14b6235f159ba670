"""Forms in which situations come that are no array of them: wrapped, by columns, by keys, as rows of a viewer, in pairs.

None of them is read, because which part is meant would be a guess; each is named, with the keys that are there and the ``jq``
command that makes JSON Lines of it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

from redheart.data.problems import kind, shown
from redheart.data.schema import JsonObject

_WANTED = "an object with id and text, each a string"
_MOST_KEYS = 8
#: How deep arrays are looked for: {"data": {"train": {"rows": [ … ]}}}.
_DEPTH = 3


class Form(NamedTuple):
    """What was found in a situation's place, and what is wanted."""

    found: str
    wanted: str


def keys_of(item: JsonObject) -> str:
    """The names that are there, as a message lists them."""
    names = [shown(name) for name in item]
    rest = f" and {len(names) - _MOST_KEYS} more" if len(names) > _MOST_KEYS else ""
    return ", ".join(names[:_MOST_KEYS]) + rest


def other_form(value: Any, *, in_array: bool) -> Form | None:
    """The form of an item that is no situation; None where it may be one, or is nothing that is known.

    Args:
        in_array: whether it is an element of the file's array, else a line.
    """
    if isinstance(value, str) and in_array:
        return _cured(f"a string: {shown(value)}", "to_entries[] | {id: (.key | tostring), text: .value}", "")
    if isinstance(value, list):
        texts = any(isinstance(one, str) for one in value)
        return (
            Form(f"an array: {shown(value)} (a row without names?)", f"{_WANTED}: names for its values")
            if texts
            else None
        )
    if not isinstance(value, dict) or not value or isinstance(value.get("text"), str):
        return None
    each = ".[] | " if in_array else ""
    return (
        _table(value, each) or _row(value, each) or _pair(value, each) or _wrapper(value, each) or _by_key(value, each)
    )


def _cured(found: str, query: str, each: str) -> Form:
    return Form(found, f"{_WANTED} (as by: jq -c {shlex.quote(each + query)} FILE > NEW.jsonl)")


def _table(item: JsonObject, each: str) -> Form | None:
    """A table whose names and values are apart."""
    keys = f"an object with the keys {keys_of(item)}"
    if isinstance(item.get("columns"), list) and isinstance(item.get("data"), list):
        query = ".columns as $names | .data[] | [$names, .] | transpose | map({(.[0]): .[1]}) | add"
        return _cured(f'{keys}: pandas\' form "split" (wanted from it: orient="records")', query, each)
    text = item.get("text")
    by_columns = ". as $all | .text | keys_unsorted[] as $row | $all | map_values(.[$row])"
    if isinstance(text, dict) and all(isinstance(one, dict) for one in item.values()):
        return _cured(f'{keys}: pandas\' form "columns" (wanted from it: orient="records")', by_columns, each)
    if isinstance(text, list) and all(isinstance(one, list) for one in item.values()):
        return _cured(f"{keys}, each an array: a table by its columns", by_columns, each)
    return None


def _row(item: JsonObject, each: str) -> Form | None:
    if not isinstance(item.get("row"), dict):
        return None
    return _cured(
        f"an object with the keys {keys_of(item)}: a row of a dataset viewer, with the situation in it", ".row", each
    )


def _pair(item: JsonObject, each: str) -> Form | None:
    """Two actions to choose from: a dilemma has no story of its own."""
    keys = f"no text, but the keys {keys_of(item)}: a pair of actions, a dilemma without a story"
    actions = item.get("actions")
    if isinstance(actions, list) and len(actions) > 1 and all(isinstance(one, dict) for one in actions):
        words = next(
            (name for name in ("text", "description", "action") if isinstance(actions[0].get(name), str)), None
        )
        if words is not None:
            return _cured(keys, f".actions[] | {{id, text: .{words}}}", each)
    for first in item:
        second = {"1": "2", "a": "b", "A": "B"}.get(first[-1:])
        if second is not None and first[:-1] and isinstance(item[first], str):
            other = first[:-1] + second
            if isinstance(item.get(other), str):
                return Form(keys, f"{_WANTED}: each of {shown(first)} and {shown(other)} as an item of its own")
    return None


def _wrapper(item: JsonObject, each: str) -> Form | None:
    """An object around the array or arrays of situations."""
    arrays = list(_arrays(item, "", _DEPTH))
    likely = [(path, array) for path, array in arrays if array[0].keys() & {"text", "row"}]
    if "id" in item or not arrays:
        return None  # a situation that lacks its text
    arrays = likely or arrays
    (path, array), *rest = arrays
    found = f"nothing named id or text, but an object with the keys {keys_of(item)}"
    if "schema" in item and path == ".data":
        found += ' (pandas\' form "table"; wanted from it: orient="records")'
    named = f"{', '.join(_name(one) for one, _ in arrays)} ({len(array)} objects{' in the first' if rest else ''})"
    query = ", ".join(one + "[]" + (".row" if isinstance(inner[0].get("row"), dict) else "") for one, inner in arrays)
    cured = _cured(found, query, each)
    return Form(f"{found}; arrays of objects are under {named}", cured.wanted)


def _name(path: str) -> str:
    return path.removeprefix(".").replace('"', "")


def _arrays(item: JsonObject, path: str, depth: int) -> Iterator[tuple[str, list[JsonObject]]]:
    """Arrays of objects in ``item``, by their paths in jq's words."""
    for name, value in item.items():
        here = f"{path}.{name if name.isidentifier() and name.isascii() else json.dumps(name)}"
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield here, value
        elif isinstance(value, dict) and depth > 1:
            yield from _arrays(value, here, depth - 1)


def _by_key(item: JsonObject, each: str) -> Form | None:
    """Situations as the values of an object, by running numbers or by their ids."""
    values = list(item.values())
    if not all(isinstance(one, dict) and "text" in one for one in values):
        return None
    found = f"an object with the keys {keys_of(item)}: situations by key"
    if all("id" in one for one in values):
        return _cured(f'{found} (pandas\' form "index"; wanted from it: orient="records")', ".[]", each)
    return _cured(found, "to_entries[] | {id: .key} + .value", each)


def kind_and_keys(value: Any) -> str:
    """What JSON calls a value, with the names of an object."""
    return f"an object with the keys {keys_of(value)}" if isinstance(value, dict) and value else kind(value)

"""Typed structs from JSON: what does not fit is an error that names file, field, what was found and what is wanted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from redheart.errors import StorageError
from redheart.storage.atomic import read_json

T = TypeVar("T")
#: A setting's value, or whatever else is one word or one number.
Scalar = str | int | float | bool | None
#: Settings by name, and sections of them: an identity before it is hashed.
Settings = dict[str, Scalar | dict[str, Scalar]]
#: What any JSON may hold.
Json = Scalar | list["Json"] | dict[str, "Json"]
#: msgspec's names of types, in words.
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def read_struct(path: Path, kind: type[T], *, fix: str = "") -> T:
    """The JSON file at ``path`` as a ``kind``; fields that it does not know are left out.

    Args:
        fix: what to do about a file that does not fit, for the message.

    Raises:
        StorageError: the file is missing, not JSON, or a field is missing or of another type; naming it.
    """
    return as_struct(read_json(path, fix=fix), kind, str(path), fix=fix)


def as_struct(value: Any, kind: type[T], where: str, *, fix: str = "") -> T:
    """What was read from ``where`` as a ``kind``; fields that it does not know are left out.

    Raises:
        StorageError: a field is missing or of another type; names ``where``, the field, what was found and what is wanted.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        place, reason = _first_misfit(value, kind, "") or ("", str(error))
        raise StorageError(f"{where}: {f'{place}: ' if place else ''}{reason}" + (f"; {fix}" if fix else "")) from error


def without_nonfinite(struct: T) -> T:
    """``struct`` without the NaNs and infinities in it: their fields are as if nothing had been measured."""
    return msgspec.convert(finite(msgspec.to_builtins(struct)), type(struct))


def finite(value: Any) -> Any:
    """JSON without the NaNs and infinities that Python's reader lets through: fields of mappings go, items of lists are null."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items() if not _is_nonfinite(inner)}
    if isinstance(value, list):
        return [None if _is_nonfinite(inner) else finite(inner) for inner in value]
    return value


def _is_nonfinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _first_misfit(value: Any, kind: Any, place: str) -> tuple[str, str] | None:
    """The innermost place where ``value`` is no ``kind``: its dotted name, and what is wrong with it. None: it is one."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        for name, inner, wanted in _parts(value, kind):
            if found := _first_misfit(inner, wanted, f"{place}.{name}" if place else name):
                return found
        message = str(error).partition(" - at ")[0]
        if missing := re.fullmatch(r"Object missing required field `(.*)`", message):
            return f"{place}.{missing[1]}".removeprefix("."), "found nothing"
        return place, _reason(value, message)
    return None


def _reason(value: Any, message: str) -> str:
    if not (expected := re.fullmatch(r"Expected (.*?)(, got .*)?", message)):
        return f"found {value!r:.60}: {message}"
    words = re.sub(r"`(\w+)`", lambda match: _WORDS.get(match[1], match[1]), expected[1])
    return f"found {value!r:.60}, wanted {re.sub(r'`(.*?)`', _each_in_words, words)}"


def _each_in_words(match: re.Match[str]) -> str:
    """``int | null`` -> ``a whole number or null``."""
    return " or ".join(_WORDS.get(name, name) for name in match[1].split(" | "))


def _parts(value: Any, kind: Any) -> Iterator[tuple[str, Any, Any]]:
    """What is within ``value``, and what ``kind`` – one type, or one of several – wants of it: name, value, type."""
    for one in (kind, *get_args(kind)):
        if isinstance(value, dict) and isinstance(one, type) and issubclass(one, msgspec.Struct):
            yield from (
                (field.encode_name, value[field.encode_name], field.type)
                for field in msgspec.structs.fields(one)
                if field.encode_name in value
            )
        elif isinstance(value, dict) and get_origin(one) is dict:
            yield from ((str(name), inner, get_args(one)[1]) for name, inner in value.items())
        elif isinstance(value, list) and get_origin(one) in (list, tuple):
            yield from ((str(number), inner, get_args(one)[0]) for number, inner in enumerate(value))

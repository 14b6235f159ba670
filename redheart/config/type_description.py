"""Descriptions of a setting's type in words, for error messages and for the settings page."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Meta

#: Above this ``:g`` rounds a whole number.
_MOST_DIGITS = 999_999
_PLAIN = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}


def _number(bound: float) -> str:
    """A bound as it is read: a large whole number in full."""
    return f"{bound:,}" if isinstance(bound, int) and bound > _MOST_DIGITS else f"{bound:g}"


def _range(meta: Meta) -> str:
    lower = f"of at least {meta.ge:g}" if meta.ge is not None else f"above {meta.gt:g}" if meta.gt is not None else ""
    upper = (
        f"at most {_number(meta.le)}" if meta.le is not None else f"below {meta.lt:g}" if meta.lt is not None else ""
    )
    return " and ".join(part for part in (lower, upper) if part)


def wanted(annotation: Any) -> str:
    """Such as ``a whole number of at least 1 or null``, ``one of auto, tiny, small, 730m``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return f"{wanted(arguments[0])} {_range(arguments[1])}".strip()
    if origin is Literal:
        return f"one of {', '.join(arguments)}"
    if origin in (Union, types.UnionType):
        return " or ".join(wanted(argument) for argument in arguments)
    return _PLAIN[annotation]


def accepts_text(annotation: Any) -> bool:
    """Whether any text at all will do."""
    if get_origin(annotation) in (Union, types.UnionType):
        return any(accepts_text(argument) for argument in get_args(annotation))
    return annotation is str


def accepts_null(annotation: Any) -> bool:
    """Whether null is one of its values."""
    return get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)

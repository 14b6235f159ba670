"""Number types by the names that a reader meets, and those that can be asked for."""

from __future__ import annotations

from redheart.checkpoint.number_types import NUMBER_TYPES, NumberType
from redheart.errors import UsageError

BY_NAME = {one.name: one for one in NUMBER_TYPES}
BY_STORAGE = {one.storage: one for one in NUMBER_TYPES if one.storage}
FLOAT32 = BY_NAME["F32"]
#: What can be asked for.
ASKED = {"fp32": FLOAT32, "bf16": BY_NAME["BF16"]}


def asked_type(name: str | None) -> NumberType | None:
    """The type that ``--dtype`` names; None: each tensor keeps its own.

    Raises:
        UsageError: it names another.
    """
    if name is None:
        return None
    if name not in ASKED:
        raise UsageError(f"dtype: found {name!r}, wanted one of {', '.join(ASKED)}, or none to keep each tensor's own")
    return ASKED[name]

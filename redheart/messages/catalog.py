"""The catalogue of messages, gathered from one table per stage: key -> (Korean, English).

Some lines are searched for with ``grep`` by the people who run this, so they are an interface: their Korean form is
fixed, and a test holds it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

from redheart.messages.josa import fill_in

Language = Literal["ko", "en"]
LANGUAGES: tuple[Language, ...] = ("ko", "en")

_TABLES = (
    "config",
    "progress",
    "workflow",
    "inspection",
    "data",
    "embedding",
    "training",
    "sweep",
    "sweet_spot",
    "baseline",
    "prediction",
    "crossover",
    "ablation",
    "report",
    "plan",
)
_catalogue: dict[str, tuple[str, str]] = {}
_language: Language = "ko"


def _load() -> dict[str, tuple[str, str]]:
    if not _catalogue:
        for table in _TABLES:
            for key, pair in import_module(f"redheart.messages.tables.{table}").MESSAGES.items():
                if key in _catalogue:
                    raise ValueError(f"message {key!r} is defined twice")
                _catalogue[key] = pair
    return _catalogue


def catalogue() -> dict[str, tuple[str, str]]:
    """All messages: key -> (Korean, English)."""
    return dict(_load())


def set_language(chosen: Language) -> None:
    """Decides the language of every later message of this process."""
    global _language
    if chosen not in LANGUAGES:
        raise ValueError(f"language {chosen!r}: wanted 'ko' or 'en'")
    _language = chosen


def language() -> Language:
    return _language


def text(key: str, **values: Any) -> str:
    """The message ``key`` in the chosen language with ``values`` filled in, and Korean particles that fit them.

    Raises:
        KeyError: there is no such message, or it has a placeholder without a value.
    """
    return fill_in(_load()[key][0 if _language == "ko" else 1], values)

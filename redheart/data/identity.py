"""The identity of a dataset: a hash of ids, annotations and vector keys, by which finished sweeps and runs know their data.

What is hashed is JSON as Python's ``json`` writes it, and stays so. ``msgspec`` writes the numbers four times as fast; it
is taken where both write the same, which is looked at: small numbers, which have an exponent in the one or the other, go to ``json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii

import msgspec

from redheart.data.schema import FURTHER_TASKS, Situation

_NUMBERS = msgspec.json.Encoder()
#: Numbers as annotations and votes have them; were another version of msgspec to write one otherwise, ``json`` writes all.
_PROBES = (
    0.0,
    1.0,
    0.1,
    0.3,
    0.30000000000000004,
    1 / 3,
    2 / 3,
    0.001,
    0.0017,
    0.9999999999999999,
    7.0,
    123456789.125,
    1e11,
    1e12,
)


def _in_order(scores: Mapping[str, float] | None) -> list[tuple[str, float]] | None:
    return sorted(scores.items()) if scores is not None else None


def _as_json(one: Situation, key: str) -> bytes:
    """What is hashed of a situation, by definition."""
    annotations = (
        one.id,
        key,
        one.label,
        _in_order(one.label_scores),
        one.emotions,
        one.regret_factor,
        _in_order(one.bentham_scores),
        _in_order(one.surd_metrics),
        *(_in_order(one.further.get(task.name)) for task in FURTHER_TASKS),
    )
    return json.dumps(annotations).encode()


def _as_json_fast(one: Situation, key: str) -> bytes:
    """The same bytes as ``_as_json``, where ``_agree`` holds."""
    label = "null" if one.label is None else encode_basestring_ascii(one.label)
    texts = f"[{encode_basestring_ascii(one.id)}, {encode_basestring_ascii(key)}, {label}, "
    rest = _NUMBERS.encode(
        (
            _in_order(one.label_scores),
            one.emotions,
            one.regret_factor,
            _in_order(one.bentham_scores),
            _in_order(one.surd_metrics),
            *(_in_order(one.further.get(task.name)) for task in FURTHER_TASKS),
        )
    )
    if b"0.000" in rest or b"e-" in rest:
        return _as_json(one, key)
    return texts.encode() + rest[1:].replace(b",", b", ")  # the names in it are ours, and have no comma


def _agree() -> bool:
    return all(_NUMBERS.encode(number) == json.dumps(number).encode() for number in _PROBES)


_written = _as_json_fast if _agree() else _as_json


class Identity:
    """The identity of situations that are added in the dataset's order."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=8)

    def add(self, one: Situation, key: str) -> None:
        """Takes the next situation and the key of its vectors: text, model and segmentation are in that."""
        self._digest.update(_written(one, key) + b"\n")

    def hex(self) -> str:
        """16 hex digits."""
        return self._digest.hexdigest()


def identity_of(situations: Sequence[Situation], keys: Sequence[str]) -> str:
    """The identity of ``situations`` with vectors of ``keys``: 16 hex digits."""
    identity = Identity()
    for one, key in zip(situations, keys, strict=True):
        identity.add(one, key)
    return identity.hex()

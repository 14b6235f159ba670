"""The splits: which situations train, choose, judge and test, a function of the text alone.

A hash of the normalised text decides, so an item never moves when the dataset grows or is shuffled, and the same text
– whatever its case, spacing and punctuation – is always on the same side. Nothing that was trained on is scored.
"""

from __future__ import annotations

import unicodedata
from hashlib import blake2b
from typing import Literal, get_args

Split = Literal["train", "choose", "judge", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

#: Upper ends of the splits on [0, 1): 60 % train, 25 % validation in two halves, 15 % test.
_ENDS: tuple[tuple[float, Split], ...] = ((0.60, "train"), (0.725, "choose"), (0.85, "judge"), (1.0, "test"))

#: Chosen once, by the sizes of the bundled sample's splits alone, so that these come out near their shares.
_SALT = b"redheart-split4"


class _Folding(dict[int, int | None]):
    """A ``str.translate`` table that drops punctuation, separators and control characters, filled as they are met."""

    def __missing__(self, code: int) -> int | None:
        kept = None if unicodedata.category(chr(code))[0] in "PZC" else code
        self[code] = kept
        return kept


_FOLDING = _Folding()
#: The same for a text in ASCII, which has no compatibility forms: several times as fast, and most texts are.
_DROPPED_ASCII = bytes(code for code in range(128) if unicodedata.category(chr(code))[0] in "PZC")


def normalise(text: str) -> str:
    """The text with compatibility forms (NFKC) and case folded, and without white space and punctuation.

    White space is dropped rather than collapsed, so that "well-known", "well known" and "a,b", "a, b" are each one.
    """
    return _normalised(text).decode("utf-8")


def _normalised(text: str) -> bytes:
    if text.isascii():
        return text.lower().encode("ascii").translate(None, _DROPPED_ASCII)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.translate(_FOLDING).encode("utf-8")


def hash_of(text: str) -> int:
    """What a text is known by: 64 bits of the BLAKE2b of its normal form."""
    return int.from_bytes(blake2b(_normalised(text), digest_size=8, person=_SALT).digest(), "big")


def position_of(text: str) -> float:
    """Where a text lies on [0, 1): uniform over texts."""
    return _position(hash_of(text))


def _position(text_hash: int) -> float:
    return (text_hash >> 11) / (1 << 53)


def split_of(text: str) -> Split:
    """The split of a situation with this text."""
    return split_of_hash(hash_of(text))


def split_of_hash(text_hash: int) -> Split:
    """The split of a situation whose text has this hash."""
    position = _position(text_hash)
    return next(split for end, split in _ENDS if position < end)

"""The rule by which a text counts as one that an encoder can't read, and its share of a dataset.

An encoder knows the pieces that its tokenizer makes of words. Where these are single letters, parts of letters or unknown,
it knows nothing of the text, and gives vectors all the same: an English encoder cuts 나는 into the five letters it is written
with. What counts is therefore how much of a word one piece stands for: 4 letters in English, 1 in what was not in the
vocabulary. Languages in Latin script are told only where their words are cut small (Polish, Turkish, Vietnamese); of French
or Spanish an English tokenizer knows too many words.
"""

from __future__ import annotations

import random
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import msgspec

from redheart.data import Situation

#: ``(start, end, is_known)`` of each piece of a text, in characters.
Pieces = Sequence[tuple[int, int, bool]]
Cut = Callable[[str], Pieces]

#: Letters that a piece stands for at least, on the average of a word that is read; a word of one known piece is read.
#: English: 3.6 to 4.3 with all-MiniLM-L6-v2; German 2.5; Polish 1.9; Korean, Arabic, Hindi, Thai, Russian at most 1.1.
_LETTERS_OF_A_PIECE = 2.5
#: A text is read where at most this share of its letters is in words that are not. Of 8,768 English stories with names,
#: slang and links, as of the bundled sample, the highest share was 0.18; of the languages above it is 0.86 to 1.
_UNREAD_SHARE = 0.5
#: Latin letters that tell a language: shorter texts may be a name, or "pfft".
_FEWEST_LATIN = 20
#: Texts that are looked at, chosen by chance with a fixed seed, and characters of each: a share is known well by then, and
#: looking takes a second.
_MOST_TEXTS, _MOST_CHARACTERS = 1000, 1000
#: From which character on a sign stands for how many letters of an alphabet. 3: ideographs, Korean syllables, pictures; 2: kana.
_WEIGHTS = (
    (0, 1),
    (0x3040, 2),
    (0x3100, 1),
    (0x31F0, 2),
    (0x3200, 1),
    (0x3400, 3),
    (0xA000, 1),
    (0xAC00, 3),
    (0xD7A4, 1),
    (0xF900, 3),
    (0xFB00, 1),
    (0xFF66, 2),
    (0xFFA0, 1),
    (0x1F000, 3),
)
_FROM = [start for start, _ in _WEIGHTS]
_MARKS = ("Mn", "Mc", "Me")


@lru_cache(maxsize=1 << 14)
def _weight(character: str) -> int:
    """Letters that a character stands for; 0: none, as digits and punctuation are, which every encoder reads."""
    category = unicodedata.category(character)
    is_picture = category == "So" or (category == "Sk" and character >= "\U0001f000")  # skin tones
    if category[0] not in "LM" and not is_picture:
        return 0
    return 3 if is_picture else _WEIGHTS[bisect_right(_FROM, ord(character)) - 1][1]


def _is_latin(character: str) -> bool:
    return character < "\u0250" or "\u1e00" <= character <= "\u1eff"


class _Word:
    """A run of letters, and what of it the pieces stand for."""

    def __init__(self) -> None:
        self.letters = self.known = self.pieces = 0
        self.is_latin = True

    def add(self, character: str, weight: int, pieces: int, *, is_known: bool) -> None:
        if not is_known and unicodedata.category(character) in _MARKS:
            return  # an accent that the tokenizer leaves out
        self.letters += weight
        self.known += weight * is_known
        self.pieces += pieces
        self.is_latin = self.is_latin and (_is_latin(character) or unicodedata.category(character) in _MARKS)

    @property
    def is_read(self) -> bool:
        if self.pieces == 1 and self.known == self.letters:
            return True
        return self.known >= _LETTERS_OF_A_PIECE * self.pieces and self.known > 0


def _words(text: str, pieces: Pieces) -> Iterable[_Word]:
    weights = [_weight(character) for character in text]
    begun, known = [0] * len(text), [False] * len(text)
    for start, end, is_known in pieces:
        # A piece may begin with the space before it.
        first = next((at for at in range(start, end) if weights[at]), None)
        if first is None:
            continue
        begun[first] += 1
        if is_known:
            known[start:end] = [True] * (end - start)
    word = _Word()
    for at, weight in enumerate(weights):
        if weight:
            word.add(text[at], weight, begun[at], is_known=known[at])
        elif word.letters:
            yield word
            word = _Word()
    if word.letters:
        yield word


def unread_share(text: str, pieces: Pieces) -> float:
    """The share of a text's letters in words that are not read, 0..1; 0 where it has none, or too few to tell."""
    letters = unread = latin = unread_latin = 0
    for word in _words(text, pieces):
        letters += word.letters
        unread += 0 if word.is_read else word.letters
        if word.is_latin:
            latin += word.letters
            unread_latin += 0 if word.is_read else word.letters
    if latin < _FEWEST_LATIN:
        unread -= unread_latin
    return unread / letters if letters else 0.0


class Reading(msgspec.Struct, frozen=True):
    """How much of a dataset an encoder can't read.

    Attributes:
        model: the encoder.
        looked: stories that were looked at.
        unread: those of them that it can't read.
        first: the id of the first of these in the dataset, "" without one.
    """

    model: str
    looked: int
    unread: int
    first: str = ""

    @property
    def share(self) -> float:
        return self.unread / self.looked if self.looked else 0.0


class StorySample:
    """Stories of a dataset, added one by one, of which enough are kept to be looked at."""

    def __init__(self) -> None:
        self._chance = random.Random(0)
        self._met = 0
        self._kept: list[tuple[int, str, str]] = []

    def add(self, one: Situation) -> None:
        """Takes the next story; each of those that were met is as likely to be kept (reservoir sampling)."""
        place = self._met if self._met < _MOST_TEXTS else self._chance.randrange(self._met + 1)
        if place < _MOST_TEXTS:
            kept = (self._met, one.id, one.text[:_MOST_CHARACTERS])
            self._kept[place : place + 1] = [kept]
        self._met += 1

    @classmethod
    def of(cls, situations: Iterable[Situation]) -> StorySample:
        """A sample of stories at hand."""
        sample = cls()
        for one in situations:
            sample.add(one)
        return sample

    def read_by(self, cut: Cut, model: str) -> Reading:
        """What of the sample is not read by an encoder whose tokenizer cuts texts by ``cut``."""
        unread = [name for _, name, text in sorted(self._kept) if unread_share(text, cut(text)) > _UNREAD_SHARE]
        return Reading(model, len(self._kept), len(unread), unread[0] if unread else "")

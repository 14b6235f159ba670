"""Korean particles that fit the word before them: 손실은, 에포크는.

A message writes both forms, as Korean forms with blanks do: ``은(는)``, ``이(가)``, ``을(를)``, ``와(과)``, ``(으)로``.
Which one is right follows from the last sound of what stands before it, known only once the values are filled in.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any, Literal

#: How a word ends: in a vowel, in ㄹ, or in another consonant.
Ending = Literal["vowel", "rieul", "consonant"]

#: Marker -> the form after a consonant, the form after a vowel.
PARTICLES: dict[str, tuple[str, str]] = {
    "은(는)": ("은", "는"),
    "이(가)": ("이", "가"),
    "을(를)": ("을", "를"),
    "와(과)": ("과", "와"),
    "(으)로": ("으로", "로"),
}
_MARKER = re.compile("|".join(map(re.escape, PARTICLES)))

_FIRST_SYLLABLE, _LAST_SYLLABLE = "가", "힣"
_FINAL_SOUNDS = 28  # of a syllable block: none, then 27 consonants (The Unicode Standard, ch. 3.12)
_RIEUL = 8
#: 영 일 이 삼 사 오 육 칠 팔 구; 10, 100 and 1000 end in a consonant as 영 does.
_DIGITS: dict[str, Ending] = {
    **dict.fromkeys("036", "consonant"),
    **dict.fromkeys("178", "rieul"),
    **dict.fromkeys("2459", "vowel"),
}
#: Letters by their Korean names: 엘, 알; 엠, 엔; all others end in a vowel.
_LETTERS: dict[str, Ending] = {**dict.fromkeys("LR", "rieul"), **dict.fromkeys("MN", "consonant")}
_SYMBOLS: dict[str, Ending] = {"%": "vowel", "℃": "vowel"}  # 퍼센트, 도
_IN_BRACKETS = re.compile(r"(?<=\S)\s*(?:\([^()]*\)|\[[^\[\]]*\])$")
_NOT_READ = " \t\n\"'`”’»」』)]}>/.,:;!?…"
_WORD = re.compile(r"[A-Za-z]+$")
#: English as it is written in Korean: 모델, 파일, 모듈 | 백본, 임베딩, 게임 | 맵, 블록, 로직.
_WORD_IN_RIEUL = re.compile(r"(l|le)$")
_WORD_IN_CONSONANT = re.compile(r"([mn]|ng|[aeiouy][mn]e|(^|[^aeiouy])[aeiouy](p|t|k|ck)|ic)$")


def ending(before: str) -> Ending | None:
    """How what stands before a particle ends when it is read aloud; None where that can't be known.

    Brackets at the end are skipped with what is in them, as they are in reading; closing quotes and the like too.
    Numbers are read by their last digit, capitals by their names, lower-case English roughly as Korean writes it.
    """
    rest = before.rstrip()
    while (shorter := _IN_BRACKETS.sub("", rest).rstrip(_NOT_READ)) != rest:
        rest = shorter
    if not rest:
        return None
    last = rest[-1]
    if _FIRST_SYLLABLE <= last <= _LAST_SYLLABLE:
        final = (ord(last) - ord(_FIRST_SYLLABLE)) % _FINAL_SOUNDS
        return "vowel" if final == 0 else "rieul" if final == _RIEUL else "consonant"
    if last in _DIGITS:
        return _DIGITS[last]
    word = _WORD.search(rest)
    if word is None:
        return _SYMBOLS.get(last)
    if word[0].isupper() or len(word[0]) == 1:
        return _LETTERS.get(last.upper(), "vowel")
    read = word[0].lower()
    if _WORD_IN_RIEUL.search(read):
        return "rieul"
    return "consonant" if _WORD_IN_CONSONANT.search(read) else "vowel"


def particle(before: str, marker: str) -> str:
    """The form of ``marker`` that fits what stands before it; the marker itself where that can't be known."""
    sound = ending(before)
    if sound is None:
        return marker
    after_consonant, after_vowel = PARTICLES[marker]
    if sound == "rieul" and marker == "(으)로":
        return after_vowel
    return after_vowel if sound == "vowel" else after_consonant


def fill_in(message: str, values: Mapping[str, Any]) -> str:
    """``message.format(**values)`` with the message's own particles resolved; what is filled in stays as it is.

    Raises:
        KeyError: a placeholder has no value.
    """
    filled = ""
    for literal, name, specification, conversion in string.Formatter().parse(message):
        start = 0
        for marker in _MARKER.finditer(literal):
            filled += literal[start : marker.start()]
            filled += particle(filled, marker[0])
            start = marker.end()
        filled += literal[start:]
        if name is not None:
            field = name + (f"!{conversion}" if conversion else "") + (f":{specification}" if specification else "")
            filled += f"{{{field}}}".format(**values)
    return filled

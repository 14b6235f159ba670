"""Sentence boundaries, found without a dependency.

The stories are forum posts: quotes, ellipses, abbreviations, missing capitals. A boundary too many only makes two short
sentences that usually land in the same window; a boundary too few makes a sentence that has to be cut at a word.
"""

from __future__ import annotations

import re

#: Abbreviations after which a sentence goes on, whatever follows ("No." only before a number).
_GOES_ON = (
    "mr mrs ms mx dr prof rev fr hon gen sgt capt lt gov sen rep st mt e.g eg i.e ie vs cf viz approx fig no nr dept "
    "vol pp jan feb apr jun jul aug sept oct nov"
)
#: Abbreviations that may end a sentence: they do where a capital follows.
_MAY_END = (
    "etc inc ltd co corp jr sr a.m p.m am pm u.s u.k u.s.a ph.d m.d b.a tl;dr al est min max ft ed col mar sep dec"
)
_ABBREVIATIONS_WITHIN = frozenset(_GOES_ON.split())
_ABBREVIATIONS_AT_END_TOO = frozenset(_MAY_END.split())
_CLOSING = "\"'”’»)]}*_"
_END = re.compile(
    rf"""
    (?P<mark>[.!?…]+)(?P<close>[{re.escape(_CLOSING)}]*)(?=\s|$)   # terminators, then quotes or brackets that close
    | [。！？｡]+[{re.escape(_CLOSING)}」』）]*                        # full-width terminators need no space behind them
    | \n\s*\n                                                      # a paragraph ends
    | \n(?=[ \t]*(?:[-*•>]|\d+[.)]|[^\sa-z]))                      # a line ends and the next doesn't go on in lower case
    """,
    re.VERBOSE,
)
_NEXT_CHARACTER = re.compile(r"\s*(\S)")
_LAST_WORD = re.compile(r"[^\s(\[{\"“‘«*_]+$")


def _ends(text: str, match: re.Match[str]) -> bool:
    """Whether a match of ``_END`` is the end of a sentence."""
    mark = match["mark"]
    if mark is None:
        return True
    after = _NEXT_CHARACTER.match(text, match.end())
    following = after.group(1) if after else ""
    goes_on_in_lower_case = following.islower()
    if match["close"] and goes_on_in_lower_case:
        return False  # "Really?" he asked.
    if mark.startswith("…") or (len(mark) > 1 and set(mark) == {"."}):
        return not goes_on_in_lower_case  # an ellipsis is a pause or an end
    return mark != "." or _period_ends(text, match, following)


def _period_ends(text: str, match: re.Match[str], following: str) -> bool:
    """Whether a single period, with ``following`` the next character that is not blank, ends more than an abbreviation."""
    last = _LAST_WORD.search(text, max(0, match.start() - 24), match.start())
    word = last.group().lstrip("'") if last else ""
    if word.lower() in _ABBREVIATIONS_WITHIN:
        return word.lower() == "no" and not following.isdigit()
    if word.lower() in _ABBREVIATIONS_AT_END_TOO:
        return not following.islower()
    if len(word) == 1 and word.isupper() and word != "I":
        return False  # an initial: J. Smith
    line_start = text.rfind("\n", 0, match.start()) + 1
    return not (word.isdigit() and not text[line_start : match.start() - len(word)].strip())  # "1. First of all"


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Spans ``(start, end)`` in characters of the sentences: in order, without gaps, covering the text.

    White space belongs to the sentence before it. A blank text is one span; an empty one has none.
    """
    starts = [0]
    for match in _END.finditer(text):
        if _ends(text, match):
            end = match.end()
            while end < len(text) and text[end].isspace():
                end += 1
            if end > starts[-1] and end < len(text) and text[starts[-1] : end].strip():
                starts.append(end)
    return list(zip(starts, [*starts[1:], len(text)], strict=True)) if text else []

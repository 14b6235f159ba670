"""The segments of a situation: its title, its action, windows of consecutive sentences, and the whole text.

A sentence encoder reads 256 word pieces and no further; a story has thousands. So it becomes a short sequence over which
attention, filters and a Kalman smoother mean something, and nothing of it is left out: where a segment is longer than
the encoder's limit, it is embedded in parts. The text whole comes last, after the story's course: it says what the mean of
the windows does not (linear predictions from it and the others explained 0.34 of the variance of 768 stories' annotations,
those from the others alone 0.31).
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from redheart.embedding.sentences import split_sentences

TITLE, ACTION, WINDOW, WHOLE = range(4)
#: Counts changes of this file that give other segments: vectors of an older version are not taken for the new one's.
SEGMENTATION_VERSION = 2

#: ``(start, end)`` in characters of each word piece of a text, in order.
Offsets = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of text that the encoder reads in one piece, and its number of word pieces."""

    text: str
    pieces: int


@dataclass(frozen=True, slots=True)
class Segment:
    """One place in the sequence. ``position``: a running number for windows, 0 for the others."""

    kind: int
    position: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class SegmentationLimits:
    """How a situation is cut.

    Attributes:
        window_pieces: word pieces of a text window.
        max_segments: of a situation, three of which are kept for title, action and the whole text.
        part_pieces: word pieces that the encoder reads at once.
    """

    window_pieces: int
    max_segments: int
    part_pieces: int


def _starts_word(text: str, offsets: Offsets, piece: int) -> bool:
    start = offsets[piece][0]
    return text[start].isspace() or (start > 0 and text[start - 1].isspace())


def _cut(text: str, offsets: Offsets, first: int, last: int, limit: int) -> list[tuple[int, int]]:
    """Pieces ``first`` to ``last`` in runs of at most ``limit``, cut before a word; inside one only if it is longer."""
    runs = []
    while last - first > limit:
        end = next((at for at in range(first + limit, first, -1) if _starts_word(text, offsets, at)), first + limit)
        runs.append((first, end))
        first = end
    return [*runs, (first, last)]


def _spans(text: str, offsets: Offsets, runs: Sequence[tuple[int, int]], start: int, end: int) -> list[Part]:
    """Runs of pieces as text: from each run's first character to the next run's first, ``start`` to ``end`` in all."""
    starts = [start, *(offsets[first][0] for first, _ in runs[1:])]
    ends = [*starts[1:], end]
    return [Part(text[a:b].strip(), last - first) for a, b, (first, last) in zip(starts, ends, runs, strict=True)]


def _parts(text: str, offsets: Offsets, first: int, last: int, start: int, end: int, limit: int) -> tuple[Part, ...]:
    count = last - first
    even = -(-count // max(1, -(-count // limit))) if count else 1  # parts of about equal size
    return tuple(_spans(text, offsets, _cut(text, offsets, first, last, max(1, even)), start, end))


def whole_text(text: str, offsets: Offsets, part_pieces: int) -> tuple[Part, ...]:
    """A whole text in as few parts as the encoder's limit asks for, of about equal size."""
    return _parts(text, offsets, 0, len(offsets), 0, len(text), part_pieces)


def _windows(text: str, offsets: Offsets, limits: SegmentationLimits) -> list[tuple[int, int]]:
    """Windows as runs of pieces: sentences packed in order, then neighbours merged evenly if there are too many."""
    starts = [start for start, _ in offsets]
    sentences: list[tuple[int, int]] = []
    for start, end in split_sentences(text):
        first, last = bisect_left(starts, start), bisect_left(starts, end)
        if last > first:
            sentences.extend(_cut(text, offsets, first, last, limits.window_pieces))
    windows: list[tuple[int, int]] = []
    for first, last in sentences:
        if windows and last - windows[-1][0] <= limits.window_pieces:
            windows[-1] = (windows[-1][0], last)
        else:
            windows.append((first, last))
    most = limits.max_segments - 3
    if len(windows) > most:
        edges = [round(place * len(windows) / most) for place in range(most + 1)]
        windows = [(windows[a][0], windows[b - 1][1]) for a, b in itertools.pairwise(edges)]
    return windows


def segment_situation(
    title: tuple[str, Offsets] | None,
    action: tuple[str, Offsets] | None,
    text: tuple[str, Offsets],
    limits: SegmentationLimits,
) -> list[Segment]:
    """The segments of a situation, in the order of their kinds; each text is given with the offsets of its word pieces."""
    segments = []
    for kind, heading in ((TITLE, title), (ACTION, action)):
        if heading is not None:
            words, offsets = heading
            parts = _parts(words, offsets, 0, len(offsets), 0, len(words), limits.part_pieces)
            segments.append(Segment(kind, 0, parts))
    story, offsets = text
    windows = _windows(story, offsets, limits) or [
        (0, 0)
    ]  # characters that the tokenizer drops: one window all the same
    starts = [0, *(offsets[first][0] for first, _ in windows[1:])]
    for position, ((first, last), start, end) in enumerate(
        zip(windows, starts, [*starts[1:], len(story)], strict=True)
    ):
        parts = _parts(story, offsets, first, last, start, end, limits.part_pieces)
        segments.append(Segment(WINDOW, position, parts))
    return [*segments, Segment(WHOLE, 0, whole_text(story, offsets, limits.part_pieces))]

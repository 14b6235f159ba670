"""The bundled sample is what its README says: whole, varied, and nobody's copy of itself."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pytest

from redheart.data import SPLITS, Situation, read_dataset, split_of
from redheart.data.locate import bundled_sample
from redheart.tasks import BENTHAM_OPTIONAL, BENTHAM_REQUIRED, LABELS, SURD


@pytest.fixture(scope="module")
def sample() -> list[Situation]:
    return read_dataset(bundled_sample())


def test_it_has_at_least_240_situations_with_every_field(sample: list[Situation]) -> None:
    assert len(sample) >= 240
    for one in sample:
        assert one.title and one.action and one.label in LABELS and one.label_scores
        assert one.emotions is not None and abs(sum(one.emotions) - 1) < 1e-6
        assert one.regret_factor is not None
        assert set(one.bentham_scores or ()) == {*BENTHAM_REQUIRED, *BENTHAM_OPTIONAL}
        assert set(one.surd_metrics or ()) == set(SURD)


def test_texts_have_300_to_1200_characters(sample: list[Situation]) -> None:
    assert all(300 <= len(one.text) <= 1200 for one in sample)


def test_every_label_is_somebodys_and_none_is_most(sample: list[Situation]) -> None:
    counts = Counter(one.label for one in sample)
    assert set(counts) == set(LABELS)
    assert max(counts.values()) < len(sample) / 2


def test_no_run_of_eight_words_occurs_twice(sample: list[Situation]) -> None:
    places: dict[tuple[str, ...], set[tuple[str, int]]] = defaultdict(set)
    for one in sample:
        words = re.findall(r"[a-z0-9']+", one.text.lower())
        for start in range(len(words) - 7):
            places[tuple(words[start : start + 8])].add((one.id, start))
    repeated = {" ".join(run): found for run, found in places.items() if len(found) > 1}
    assert not repeated


def test_no_two_situations_have_the_same_annotations(sample: list[Situation]) -> None:
    assert len({one.emotions for one in sample}) > 0.95 * len(sample)
    assert len({tuple(sorted((one.bentham_scores or {}).items())) for one in sample}) == len(sample)


def test_its_splits_have_about_their_shares(sample: list[Situation]) -> None:
    counts = Counter(split_of(one.text) for one in sample)
    for split, share in zip(SPLITS, (0.60, 0.125, 0.125, 0.15), strict=True):
        assert abs(counts[split] / len(sample) - share) < 0.03, split

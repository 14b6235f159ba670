"""An item's split is a function of its text alone, and frozen."""

from __future__ import annotations

from collections import Counter

import pytest

from redheart.data.splits import SPLITS, normalise, position_of, split_of

#: Frozen: a change of any of these moves situations between training and test under people's feet.
FROZEN: dict[str, tuple[float, str]] = {
    "I took the last seat on the bus.": (0.45369651480628714, "train"),
    "She lied, and I knew.": (0.5489575503305167, "train"),
    "거짓말을 했다.": (0.996595124333946, "test"),
    "Ich kam zu spät – wieder.": (0.06122980494996777, "train"),
    "": (0.3729578018285491, "train"),
    "story 1": (0.668075964528662, "choose"),
    "story 2": (0.07457286722104695, "train"),
}


@pytest.mark.parametrize(
    "variant",
    [
        "I was late, again.",
        "i was LATE again",
        "  I was\n\nlate; again!? ",
        "“I was late” – again…",
        "I\u00a0was late again",
        "Ｉ was late again",
        "I was l\u200bate again",
    ],
)
def test_case_white_space_and_punctuation_do_not_matter(variant: str) -> None:
    assert normalise(variant) == "iwaslateagain"
    assert position_of(variant) == position_of("I was late again")


def test_letters_digits_accents_and_symbols_do_matter() -> None:
    texts = ["resume", "résumé", "resume 2", "resume 🙂", "이력서", "이력서를", "$5", "5"]
    assert len({position_of(text) for text in texts}) == len(texts)


@pytest.mark.parametrize("text", FROZEN)
def test_positions_and_splits_are_frozen(text: str) -> None:
    position, split = FROZEN[text]
    assert position_of(text) == pytest.approx(position, abs=1e-12)
    assert split_of(text) == split


def test_fractions_are_as_declared() -> None:
    count = 40_000
    found = Counter(split_of(f"a story number {number} of many") for number in range(count))
    for split, share in {"train": 0.60, "choose": 0.125, "judge": 0.125, "test": 0.15}.items():
        # five standard deviations of a binomial share
        assert found[split] / count == pytest.approx(share, abs=5 * (share * (1 - share) / count) ** 0.5)
    assert set(found) == set(SPLITS)


def test_no_item_moves_when_the_dataset_grows_and_splits_share_no_text() -> None:
    texts = [f"Story {number}: he did it, she did not." for number in range(500)]
    small = {text: split_of(text) for text in texts[:100]}
    large = {text: split_of(text.upper() + "!!") for text in reversed(texts)}
    assert all(large[text] == split for text, split in small.items())

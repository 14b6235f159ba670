"""A dataset's identity is a hash of one fixed text per situation, however that is written."""

from __future__ import annotations

import random

from redheart.data import Situation
from redheart.data import identity as module
from redheart.data.identity import identity_of
from redheart.tasks import BENTHAM_REQUIRED, EMOTIONS, LABELS, SURD


def numbers(draw: random.Random) -> float:
    """Numbers of 0..1 in every form that annotations have, very small ones too."""
    kind = draw.randrange(4)
    if kind == 0:
        return round(draw.random(), draw.randint(1, 6))
    return draw.random() * 10.0 ** -draw.randint(0, 9) if kind == 1 else draw.choice([0.0, 1.0, draw.random()])


def situation(draw: random.Random) -> Situation:
    return Situation(
        id=draw.choice(["plain", 'it\'s, \\ "quoted"', "이야기, \u2028 💥"]),
        text="",
        label=draw.choice([None, *LABELS]),
        label_scores=draw.choice([None, {name: float(draw.randint(0, 10 ** draw.randint(0, 12))) for name in LABELS}]),
        emotions=draw.choice([None, tuple(numbers(draw) for _ in EMOTIONS)]),
        regret_factor=draw.choice([None, numbers(draw)]),
        bentham_scores=draw.choice([None, {}, {name: numbers(draw) for name in reversed(BENTHAM_REQUIRED)}]),
        surd_metrics=draw.choice([None, {name: numbers(draw) for name in SURD}]),
    )


def test_the_fast_way_writes_what_json_writes() -> None:
    draw = random.Random(0)
    assert module._agree()
    for _ in range(3000):
        one = situation(draw)
        assert module._as_json_fast(one, "0f") == module._as_json(one, "0f")


def test_an_identity_is_what_it_always_was() -> None:
    """By the identity that revision 4238d59 gave."""
    draw = random.Random(1)
    situations = [situation(draw) for _ in range(50)]
    assert identity_of(situations, [f"{number:032x}" for number in range(50)]) == "5fc783bd3f41fd49"

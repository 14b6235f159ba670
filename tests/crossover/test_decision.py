"""What is delivered is decided on judge, and nothing is called better that was not shown to be."""

from __future__ import annotations

import random
import re

import pytest

from redheart.crossover.decision import Decision, decide, explain, share_of_resamples
from redheart.crossover.result import Candidate, CrossoverResult
from redheart.facts.candidate import Difference, Score
from redheart.messages import Language, set_language
from redheart.tasks import MODULES


@pytest.fixture(autouse=True)
def in_english() -> object:
    set_language("en")
    yield
    set_language("ko")


def difference(mean: float, half: float = 0.01) -> Difference:
    low, high = mean - half, mean + half
    return Difference(mean, low, high, low - half / 2, high + half / 2, 0.95, 0.9 if mean < 0 else 0.1, 50)


def candidate(name: str, judge: float | None, test: float, *, half: float = 0.01, twin: str | None = None) -> Candidate:
    scores = {
        split: Score(50, loss, loss, 0.1, None if name == "last" or loss is None else difference(loss - base, half), {})
        for split, loss, base in (("judge", judge, 0.50), ("test", test, 0.50))
    }
    return Candidate(name, {module: [1] for module in MODULES}, twin or name, twin, name.startswith("random_"), scores)


def decided(candidates: list[Candidate], **others: object) -> Decision:
    return decide(candidates, **{"dry_run": False, "weights_changed": True, "epochs": 9, **others})  # type: ignore[arg-type]


def told(candidates: list[Candidate], **others: object) -> list[str]:
    decision = decided(candidates, **others)
    return explain(
        CrossoverResult(
            outcome=decision.outcome,
            winner=decision.winner,
            delivered=decision.winner or "last",
            combined="crossover",
            dry_run=False,
            weights_changed=True,
            epochs=list(range(1, 10)),
            choose_loss={},
            soup=[],
            candidates=candidates,
            comparisons=2,
            confidence=0.95,
            bootstrap_samples=100,
            seed=0,
        )
    )


def test_judge_decides_even_where_test_disagrees() -> None:
    candidates = [candidate("last", 0.50, 0.50), candidate("soup", 0.45, 0.60), candidate("crossover", 0.48, 0.30)]
    assert decided(candidates) == Decision("clear", "soup")
    sentences = told(candidates)
    assert sentences[0].startswith("Greedy soup wins") and "0.0500" in sentences[0]
    assert "decided nothing, greedy soup is worse" in sentences[1]


def test_a_lead_within_noise_is_no_clear_winner() -> None:
    candidates = [candidate("last", 0.50, 0.50), candidate("average", 0.49, 0.49, half=0.05)]
    assert decided(candidates) == Decision("unclear", "average")
    assert told(candidates)[0].startswith("No clear winner")


def test_a_lead_that_only_its_unwidened_interval_shows_is_no_clear_winner() -> None:
    candidates = [candidate("last", 0.50, 0.50), candidate("average", 0.488, 0.5, half=0.01)]
    shown = candidates[1].scores["judge"].difference
    assert shown is not None and shown.high < 0 < shown.guarded_high
    assert decided(candidates).outcome == "unclear"


def test_the_last_epoch_wins_clearly_only_where_every_baseline_is_clearly_worse() -> None:
    worse = candidate("soup", 0.60, 0.5)
    assert decided([candidate("last", 0.50, 0.50), worse]) == Decision("last_clear", "last")
    near = candidate("crossover", 0.505, 0.5)
    assert decided([candidate("last", 0.50, 0.50), worse, near]) == Decision("last_unclear", "last")
    assert "combining did not help" in told([candidate("last", 0.50, 0.50), worse, near])[0]


def test_a_runner_up_that_is_clearly_worse_is_not_said_to_be_within_noise() -> None:
    runner_up = candidate("soup", 0.506, 0.5, half=0.002)
    candidates = [candidate("last", 0.50, 0.5), runner_up, candidate("average", 0.52, 0.5, half=0.05)]
    assert decided(candidates) == Decision("last_unclear", "last")
    headline = told(candidates)[0]
    assert "greedy soup, is clearly worse (its loss is 0.0060 higher, 95 % interval +0.0030 to +0.0090" in headline
    assert "average of the last epochs, with a higher loss still, can't be told from the last epoch" in headline
    assert "within noise (95 % interval −0.0550 to +0.0950)" in headline
    set_language("ko")
    headline = told(candidates)[0]
    assert "탐욕적 수프는 분명히 더 나쁘지만" in headline and "+0.0030 ~ +0.0090" in headline
    assert "마지막 에포크들의 평균과의 차이(0.0200)는 잡음 범위 안입니다 (95% 구간 −0.0550 ~ +0.0950)" in headline


def test_the_last_epoch_is_no_clear_winner_over_rivals_that_have_no_numbers() -> None:
    candidates = [candidate("last", 0.5, 0.5), candidate("crossover", None, 0.1)]
    assert decided(candidates) == Decision("last_unclear", "last")
    assert told(candidates)[0].startswith("No clear winner") and "no interval could be computed" in told(candidates)[0]


def _any_difference(drawing: random.Random, mean: float) -> Difference | None:
    if drawing.random() < 0.05:
        return None
    low, high = sorted(drawing.choice([mean, 0.0]) + drawing.uniform(-0.02, 0.02) for _ in range(2))
    wider = drawing.choice([0.0, 0.004, 0.01])
    return Difference(mean, low, high, low - wider, high + wider, 0.95, drawing.random(), 50)


def _any_candidate(drawing: random.Random, name: str) -> Candidate:
    scores = {}
    for split in ("judge", "test"):
        loss = None if drawing.random() < 0.05 else 0.5 + drawing.uniform(-0.005, 0.02)
        shown = None if name == "last" or loss is None else _any_difference(drawing, loss - 0.5)
        scores[split] = Score(50, 0.5 if name == "last" else loss, loss, 0.1, shown, {})
    return Candidate(name, {module: [1] for module in MODULES}, name, None, False, scores)


_INTERVAL = r"[^~]*?([+−]\d\.\d+) (?:to|~) ([+−]\d\.\d+)"
_AROUND = re.compile(
    r"(?:within noise|잡음 범위 안|can't be told from the last epoch on|epoch is not shown|구별되지 않습니다)"
    + _INTERVAL
)
_BEYOND = re.compile(
    r"(?: wins:|is clearly worse|is better than the|is worse than the|^승자:|분명히 더 나쁘지만|포크보다 (?:낫습|나쁩)니다|"
    r"By its last epoch training had|까지의 학습은)" + _INTERVAL
)


@pytest.mark.parametrize("chosen", ["en", "ko"])
def test_what_is_said_of_an_interval_is_true_of_it(chosen: Language) -> None:
    set_language(chosen)
    drawing = random.Random(5)
    outcomes, around, beyond, others = set(), 0, 0, 0
    for _ in range(3000):
        names = ("last", "start", "best_epoch", "average", "soup", "crossover")
        candidates = [_any_candidate(drawing, name) for name in names]
        outcomes.add(decided(candidates).outcome)
        sentences = told(candidates)
        others += len(_AROUND.findall(sentences[0])) and len(_BEYOND.findall(sentences[0]))
        for sentence in sentences:
            for low, high in _AROUND.findall(sentence):
                assert _value(low) <= 0 <= _value(high), sentence
                around += 1
            for low, high in _BEYOND.findall(sentence):
                assert _value(low) >= 0 or _value(high) <= 0, sentence
                beyond += 1
            assert not re.search("within noise|잡음 범위|구별되지", sentence) or _AROUND.search(sentence), sentence
    assert {"clear", "unclear", "last_clear", "last_unclear"} <= outcomes
    assert around > 1000 and beyond > 1000 and others > 50


def test_both_languages_say_the_same_of_the_test_split() -> None:
    for test, english, korean in ((0.45, "is better than", "보다 낫습니다"), (0.55, "is worse than", "보다 나쁩니다")):
        candidates = [candidate("last", 0.50, 0.50), candidate("soup", 0.45, test)]
        assert english in told(candidates)[1]
        set_language("ko")
        assert korean in told(candidates)[1] and "뒷받침" not in told(candidates)[1]
        set_language("en")


def _value(shown: str) -> float:
    return float(shown.replace("−", "-"))


def test_a_random_control_is_never_delivered_but_its_victory_is_told() -> None:
    candidates = [candidate("last", 0.50, 0.5), candidate("crossover", 0.45, 0.5), candidate("random_1", 0.40, 0.5)]
    assert decided(candidates).winner == "crossover"
    assert any("1 crossovers of randomly chosen epochs, 1 have a lower loss" in line for line in told(candidates))


def test_candidates_identical_to_the_last_epoch_win_nothing() -> None:
    candidates = [candidate("last", 0.50, 0.5), candidate("best_epoch", 0.50, 0.5, twin="last")]
    assert decided(candidates) == Decision("identical", None)


def test_a_model_without_a_finite_loss_can_not_win() -> None:
    assert decided([candidate("last", 0.5, 0.5), candidate("crossover", None, 0.1)]).winner == "last"
    assert decided([candidate("last", None, 0.5), candidate("crossover", None, 0.1)]) == Decision("not_finite", None)


def test_dry_runs_unchanged_weights_and_single_epochs_have_no_winner() -> None:
    candidates = [candidate("last", 0.50, 0.5), candidate("soup", 0.40, 0.5)]
    assert decided(candidates, dry_run=True) == Decision("dry_run", None)
    assert decided(candidates, weights_changed=False) == Decision("unchanged", None)
    alike = [candidate("last", 0.50, 0.5), candidate("soup", 0.50, 0.5, twin="last")]
    assert decided(alike, epochs=1) == Decision("one_epoch", None)


def test_one_epoch_is_compared_with_the_start_where_there_is_one() -> None:
    alike = [candidate("last", 0.50, 0.5), candidate("start", 0.40, 0.5), candidate("soup", 0.50, 0.5, twin="last")]
    assert decided(alike, epochs=1) == Decision("clear", "start")


@pytest.mark.parametrize(
    ("loss", "half", "outcome", "words"),
    [
        (0.40, 0.01, "clear", "By its last epoch training had made the model worse"),
        (0.49, 0.05, "unclear", "That training had helped by its last epoch is not shown"),
        (0.51, 0.05, "last_unclear", "That training had helped by its last epoch is not shown"),
        (0.60, 0.01, "last_clear", "By its last epoch training had helped"),
    ],
)
def test_what_training_was_worth_beside_its_start_is_said(loss: float, half: float, outcome: str, words: str) -> None:
    candidates = [candidate("last", 0.50, 0.5), candidate("start", loss, 0.5, half=half)]
    assert decided(candidates).outcome == outcome
    sentences = told(candidates)
    (said,) = [line for line in sentences if "raining had" in line]
    assert said.startswith(words) and f"{loss - 0.5:+.4f}".replace("-", "−") in said
    assert any("What is delivered is the start" in line for line in sentences) == (loss < 0.50)


def test_a_share_of_resamples_is_never_said_to_be_none_or_all() -> None:
    assert share_of_resamples(1.0, 2000) == "> 99.95" and share_of_resamples(0.0, 2000) == "< 0.05"
    assert share_of_resamples(0.752, 2000) == "75.2"

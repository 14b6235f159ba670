"""Techniques 2 to 5: task metrics, decision analysis, gradient health, and the vote over all."""

from __future__ import annotations

import numpy as np
import pytest
from sweet_spot_records import curve, fall_and_plateau

from redheart.config.schema import SweetSpotConfig
from redheart.sweet_spot import voting
from redheart.sweet_spot.choice import Choice, Reason, Vote
from redheart.sweet_spot.curves import ModuleCurve
from redheart.sweet_spot.techniques import gradient_health, mcda, plateau, task_metrics

CONFIG = SweetSpotConfig()


def vote(technique: str, epoch: int | None, confidence: float = 0.5) -> Vote:
    return Vote(epoch, confidence if epoch else 0.0, Reason("sweet_spot.task.constant"))


def choose(**curves: ModuleCurve) -> dict[str, Choice]:
    votes = [
        plateau.votes(curves, CONFIG.significance),
        task_metrics.votes(curves),
        mcda.votes(curves, CONFIG),
        gradient_health.votes(curves),
    ]
    names = ("plateau", "task_metrics", "mcda", "gradient_health")
    by_module = {module: {name: of[module] for name, of in zip(names, votes, strict=True)} for module in curves}
    return voting.choose(curves, by_module)


# Task metrics


def test_the_task_metric_takes_the_earliest_epoch_within_the_noise_of_the_best() -> None:
    chosen, highest = [], []
    for seed in range(100):
        noise = 0.01 * np.random.default_rng(seed).standard_normal(40)
        skill = 0.3 * (1 - fall_and_plateau(40, 12, 40, 0.0)) + noise
        chosen.append(task_metrics.votes({"backbone": curve(skill, skill)})["backbone"].epoch)
        highest.append(int(skill.argmax()) + 1)
    assert sum(epoch is not None and epoch >= 11 for epoch in chosen) >= 95
    # Every epoch from 12 on is as good as any other: the highest lies anywhere, the rule prefers the earlier ones.
    assert np.median(np.array(chosen, dtype=float)) <= np.median(highest) - 5


def test_one_lucky_epoch_does_not_decide() -> None:
    skill = 0.3 * (1 - fall_and_plateau(40, 20, 40, 0.0)) + 0.003 * np.random.default_rng(1).standard_normal(40)
    skill[7] = 0.31  # alone among epochs at 0.1
    chosen = task_metrics.votes({"backbone": curve(skill, skill)})["backbone"]
    assert chosen.epoch is not None and chosen.epoch >= 18


def test_the_task_vote_is_an_epoch_and_not_always_the_first_one() -> None:
    skill = [0.0, 0.1, 0.3, 0.2]
    assert task_metrics.votes({"backbone": curve([1.0] * 4, skill)})["backbone"].epoch == 3


def test_a_module_without_a_task_metric_makes_it_abstain() -> None:
    chosen = task_metrics.votes({"backbone": curve(np.linspace(1, 0, 20))})["backbone"]
    assert chosen.abstains and chosen.reason.key == "sweet_spot.task.no_metric"


def test_a_skill_that_always_rises_gives_the_last_epoch_and_says_so() -> None:
    chosen = task_metrics.votes({"backbone": curve(np.zeros(20), 1 - 0.7 ** np.arange(20))})["backbone"]
    assert (chosen.epoch, chosen.reason.key) == (20, "sweet_spot.task.rising")


def test_a_flat_top_makes_it_less_sure_than_a_sharp_one() -> None:
    generator = np.random.default_rng(4)
    noise = 0.005 * generator.standard_normal(60)
    sharp = task_metrics.votes({"backbone": curve(np.zeros(60), 1 - np.abs(np.arange(60) - 30) / 30 + noise)})
    flat = task_metrics.votes({"backbone": curve(np.zeros(60), 1 - fall_and_plateau(60, 10, 60, 0.0) + noise)})
    assert sharp["backbone"].confidence > 0.9 > 0.5 > flat["backbone"].confidence


def test_no_skill_means_next_to_no_confidence() -> None:
    skill = -1 + 0.5 * np.linspace(0, 1, 20)
    assert task_metrics.votes({"backbone": curve(skill, skill)})["backbone"].confidence <= 0.1


# Decision analysis


def test_the_weights_are_thirty_forty_fifteen_fifteen() -> None:
    generator = np.random.default_rng(0)
    module = curve(generator.random(12), generator.random(12), gradient_mean=generator.random(12) + 0.5)
    scores = mcda.weighted_scores(module, CONFIG)
    assert scores.weights == pytest.approx({"loss": 0.3, "task": 0.4, "stability": 0.15, "gradient": 0.15})
    assert scores.left_out == ()


def test_the_weighted_sum_is_the_one_done_by_hand() -> None:
    module = curve([1.0, 0.5, 0.0], [0.0, 0.4, 0.2])
    config = SweetSpotConfig(loss_weight=0.5, task_weight=0.5, stability_weight=0.0, gradient_weight=0.0)
    assert mcda.weighted_scores(module, config).total == pytest.approx([0.0, 0.25 + 0.5, 0.5 + 0.25])


def test_constant_and_missing_criteria_are_left_out_and_the_weights_rescaled() -> None:
    module = curve(np.linspace(1, 0.5, 10))  # no task metric, gradients all alike, an even fall
    scores = mcda.weighted_scores(module, CONFIG)
    assert "task" in scores.left_out and "gradient" in scores.left_out
    assert sum(scores.weights.values()) == pytest.approx(1.0)
    chosen = mcda.votes({"backbone": module}, CONFIG)["backbone"]
    assert "task" in chosen.evidence["left_out"] and chosen.reason.key == "sweet_spot.mcda.renormalised"


def test_gradients_alone_decide_nothing() -> None:
    module = curve(np.zeros(10), gradient_mean=np.linspace(1, 9, 10))
    assert mcda.votes({"backbone": module}, CONFIG)["backbone"].abstains


# Gradient health


def test_an_epoch_with_a_gradient_spike_is_less_healthy() -> None:
    norms = np.ones(10)
    norms[6] = 20.0
    health = gradient_health.health(curve(np.zeros(10), gradient_mean=norms))
    assert health.argmin() == 6


def test_an_update_of_a_thousandth_a_step_is_best_and_two_decades_away_worthless() -> None:
    steps = np.full(4, 100.0)  # an epoch's change is ten times a step's, as directions are unrelated
    scores = gradient_health.update_ratio_score(np.array([1e-2, 1e-1, 1.0, 0.0]), steps)
    assert scores == pytest.approx([1.0, 0.5, 0.0, 0.0])


def test_dead_units_make_an_epoch_ill_whatever_else_is_fine() -> None:
    dead = np.array([0.0, 0.0, 1.0, 0.5])
    health = gradient_health.health(curve(np.zeros(4), dead_fraction=dead))
    assert health[2] == 0.0 and health[0] > health[3] > 0.0


def test_what_was_not_measured_is_left_out_and_named() -> None:
    unknown = np.full(6, np.nan)
    norms = np.array([1, 1, 9, 1, 1, 1.0])
    module = curve(np.zeros(6), gradient_mean=norms, dead_fraction=unknown, relative_update=np.full(6, 0.1))
    chosen = gradient_health.votes({"backbone": module})["backbone"]
    assert chosen.evidence["not_measured_everywhere"] == ["dead_fraction"]
    # Two signs are left, 1 for the norm and 0.5 for an update one decade too large.
    assert gradient_health.health(module)[0] == pytest.approx(np.sqrt(1.0 * 0.5))


def test_no_gradient_at_all_makes_it_abstain() -> None:
    chosen = gradient_health.votes({"backbone": curve(np.zeros(6), gradient_mean=np.zeros(6))})["backbone"]
    assert chosen.abstains and chosen.reason.key == "sweet_spot.gradient.none"


# Voting


def four(first: int | None, second: int | None, third: int | None, fourth: int | None) -> dict[str, Vote]:
    return {
        "plateau": vote("plateau", first),
        "task_metrics": vote("task_metrics", second),
        "mcda": vote("mcda", third),
        "gradient_health": vote("gradient_health", fourth),
    }


def test_votes_of_neighbouring_epochs_count_together() -> None:
    module = curve(np.zeros(60))
    assert voting.combine(module, four(30, 31, 32, 50)).epoch == 31


def test_three_techniques_on_one_curve_are_no_surer_than_the_surest_of_them() -> None:
    module = curve(np.zeros(60))
    assert voting.combine(module, four(30, 30, 30, None)).confidence == pytest.approx(0.5)
    with_gradients = voting.combine(module, four(30, 30, 30, 30)).confidence
    assert with_gradients == pytest.approx(1 - 0.5 * 0.5)


def test_the_confidence_has_a_cap() -> None:
    votes = {name: vote(name, 30, 1.0) for name in four(1, 1, 1, 1)}
    assert voting.combine(curve(np.zeros(60)), votes).confidence == voting.HIGHEST_CONFIDENCE


def test_disagreement_lowers_the_confidence() -> None:
    module = curve(np.zeros(60))
    assert voting.combine(module, four(10, 30, 50, None)).confidence == pytest.approx(0.5 / 3, rel=0.01)


def test_a_tie_goes_to_the_epoch_with_the_lower_loss() -> None:
    loss = np.ones(60)
    loss[49] = 0.5
    assert voting.combine(curve(loss), four(10, 50, None, None)).epoch == 50


def test_where_the_free_choice_was_given_up_gradient_health_alone_does_not_choose_among_what_is_kept() -> None:
    """In short runs the votes hardly reach other epochs; what reaches them of one that says nothing of predictions is no reason."""
    module = curve(np.array([0.5, 0.6, 0.7, 0.8, 0.9]))
    choice = voting.choose({"backbone": module}, {"backbone": four(1, 1, 1, 5)}, kept={"backbone": [2, 5]})["backbone"]
    assert (choice.epoch, choice.not_kept) == (2, 1)


def test_gradient_health_alone_chooses_no_epoch_and_the_module_goes_with_the_backbone() -> None:
    spiky = np.ones(40)
    spiky[5] = 30.0
    generator = np.random.default_rng(0)
    loss = fall_and_plateau(40, 12, 24, 0.6) + 0.005 * generator.standard_normal(40)
    choices = choose(
        backbone=curve(loss, 0.5 - loss),
        silent=curve(np.zeros(40), gradient_mean=spiky),
    )
    assert choices["silent"].epoch == choices["backbone"].epoch
    assert choices["silent"].confidence == 0.0
    assert choices["silent"].because.key == "sweet_spot.choice.with_backbone"


def test_where_nobody_has_an_opinion_on_anything_it_is_the_last_epoch() -> None:
    choices = choose(backbone=curve(np.zeros(9)))
    assert (choices["backbone"].epoch, choices["backbone"].because.key) == (9, "sweet_spot.choice.last")


@pytest.mark.parametrize("count", [2, 3, 10, 60])
def test_a_curve_that_only_falls_gives_the_last_epoch_and_is_still_improving(count: int) -> None:
    loss = np.linspace(1.0, 0.2, count)
    choice = choose(backbone=curve(loss, 1 - loss))["backbone"]
    assert (choice.epoch, choice.still_improving) == (count, True)


def test_a_module_that_overfits_gets_an_epoch_before_it_does() -> None:
    generator = np.random.default_rng(5)
    loss = fall_and_plateau(60, 15, 25, 0.8) + 0.01 * generator.standard_normal(60)
    choice = choose(backbone=curve(loss, 0.5 - loss))["backbone"]
    assert 13 <= choice.epoch <= 27 and not choice.still_improving


def test_an_earlier_choice_is_not_called_still_improving() -> None:
    falling = curve(np.linspace(1, 0, 30))
    choice = voting.choose({"backbone": falling}, {"backbone": four(10, 10, 10, None)})["backbone"]
    assert (choice.epoch, choice.still_improving) == (10, False)

"""The first steps of a training: the dead are named in the log, and under strict the run stops; through a resume too."""

from __future__ import annotations

import pytest

from redheart.errors import Interrupted, TrainingError
from redheart.health.liveness import LivenessProbe
from tests.training.planted import PLANTS, plant_in_all
from tests.training.runs import train
from tests.training.small_data import embedded_items, write_embedded

DEAD = "학습되지 않는 텐서"
ALIVE = "모두 살아 있음"
#: One of each thing that is said of a tensor; that each is found is tested beside the probe.
NAMED = (
    "a parameter that the optimizer does not hold",
    "a bias that a softmax cancels",
    "half of a matrix's outputs unused",
)


@pytest.fixture
def planted(monkeypatch):
    """Every model that is built from now on has it."""

    return lambda plant: plant_in_all(monkeypatch, plant)


def test_a_healthy_model_is_said_to_be_alive_once(dataset, settings, tmp_path, logged):
    train(dataset, tmp_path / "out", settings(epochs=2, global_batch_size=8, liveness_steps=5, strict=True))
    (line,) = [line for line in logged().splitlines() if ALIVE in line]
    assert "처음 5 스텝" in line and DEAD not in logged()


def test_a_run_shorter_than_the_first_steps_is_judged_by_those_it_has(dataset, settings, tmp_path, logged):
    train(dataset, tmp_path / "out", settings(epochs=1, global_batch_size=16))
    (line,) = [line for line in logged().splitlines() if ALIVE in line]
    assert "처음 3 스텝" in line


def test_off_it_is_absent(dataset, settings, tmp_path, logged, monkeypatch):
    monkeypatch.setattr(LivenessProbe, "__init__", lambda *_, **__: pytest.fail("a probe that was not asked for"))
    train(dataset, tmp_path / "out", settings(epochs=1, liveness_steps=0))
    assert ALIVE not in logged() and DEAD not in logged()


@pytest.mark.parametrize("what", NAMED)
def test_the_dead_are_named_with_what_they_are_part_of(dataset, settings, tmp_path, logged, planted, what):
    plant = PLANTS[what]
    planted(plant)
    train(dataset, tmp_path / "out", settings(epochs=1, global_batch_size=8, liveness_steps=4))
    said = [line.partition(f"{DEAD}: ")[2] for line in logged().splitlines() if DEAD in line]
    names = {*plant.dead, *plant.rows}
    assert {line.split(" ")[0] for line in said} == names
    for line in said:
        name = line.split(" ")[0]
        group = name.split(".")[0]
        module = ".".join(name.split(".")[: 2 if group in ("heads", "neural_analyzers", "advanced_wrappers") else 1])
        assert f"(모듈 {module}, 그룹 {group}): " in line
        assert "96개 중 48개" in line and "48–95" in line if name in plant.rows else "개 중" not in line
    assert ALIVE not in logged()


@pytest.mark.parametrize("what", NAMED)
def test_under_strict_the_run_stops_and_names_them(dataset, settings, tmp_path, planted, what):
    planted(PLANTS[what])
    with pytest.raises(TrainingError, match="first 3 steps") as found:
        train(dataset, tmp_path / "out", settings(epochs=1, global_batch_size=8, liveness_steps=3, strict=True))
    for name in (*PLANTS[what].dead, *PLANTS[what].rows):
        assert name in str(found.value)


def test_a_run_stopped_within_the_first_steps_judges_them_all_when_it_goes_on(
    dataset, settings, tmp_path, logged, monkeypatch
):
    """The same report, to the last digit, as of a run that was not stopped; once in an epoch, once at its end."""
    reports = []
    original = LivenessProbe.report
    monkeypatch.setattr(LivenessProbe, "report", lambda self: reports.append(original(self)) or reports[-1])
    config = settings(epochs=3, global_batch_size=8, liveness_steps=10)
    train(dataset, tmp_path / "whole", config)
    # Asked in the evaluation before the first step, once per batch, of which there are six, then in the evaluation and at the
    # end of the epoch.
    for asked in (5, 4, 2):
        answers = iter([False] * (asked - 1) + [True])
        with pytest.raises(Interrupted):
            train(dataset, tmp_path / "cut", config, should_stop=lambda answers=answers: next(answers, True))
        assert len(reports) == 1, "not yet"
    train(dataset, tmp_path / "cut", config)
    whole, cut = reports
    assert cut == whole and cut.steps == cut.updates == 10
    assert logged().count(ALIVE) == 2


def test_a_run_stopped_after_the_first_steps_is_not_watched_again(dataset, settings, tmp_path, logged):
    config = settings(epochs=2, global_batch_size=8, liveness_steps=2)
    answers = iter([False] * 4 + [True])
    with pytest.raises(Interrupted):
        train(dataset, tmp_path / "out", config, should_stop=lambda: next(answers, True))
    train(dataset, tmp_path / "out", config)
    assert logged().count(ALIVE) == 1


def test_a_dry_run_claims_no_change(dataset, settings, tmp_path, logged):
    train(dataset, tmp_path / "out", settings(epochs=1, global_batch_size=8, no_param_update=True, strict=True))
    assert "모두에 gradient가 있음" in logged() and ALIVE not in logged() and DEAD not in logged()


class TestWhatTheDataLacks:
    """Nothing can train what no situation has data for: that is said, and is not taken for a defect."""

    def test_a_single_target(self, settings, tmp_path, logged):
        items = embedded_items()
        for item in items:
            for key in ("emotions", "bentham_scores", "surd_metrics", "label", "label_scores"):
                item.pop(key, None)
        dataset = write_embedded(tmp_path, items)
        train(dataset, tmp_path / "out", settings(epochs=1, global_batch_size=8, strict=True, liveness_steps=5))
        assert DEAD not in logged() and ALIVE in logged()
        (said,) = [line for line in logged().splitlines() if "판단할 수 없음" in line]
        for target in ("target emotion", "target bentham", "target surd", "target verdict", "target votes"):
            assert target in said
        assert "target regret" not in said

    def test_a_dimension_and_a_kind_of_segment(self, settings, tmp_path, logged):
        items = embedded_items()
        for item in items:
            item["bentham_scores"].pop("purity", None)
            item["embedding"], item["embedding_kinds"] = item["embedding"][1:], item["embedding_kinds"][1:]
        dataset = write_embedded(tmp_path, items)
        train(dataset, tmp_path / "out", settings(epochs=1, global_batch_size=8, strict=True, liveness_steps=5))
        assert DEAD not in logged() and ALIVE in logged()
        assert "title segments, target bentham.purity." in logged()

    def test_it_excuses_nothing_else(self, settings, tmp_path, logged, planted):
        items = embedded_items()
        for item in items:
            item.pop("regret_factor")
        planted(PLANTS["a detached branch"])
        dataset = write_embedded(tmp_path, items)
        train(dataset, tmp_path / "out", settings(epochs=1, global_batch_size=8, liveness_steps=5))
        said = [line.partition(f"{DEAD}: ")[2].split(" ")[0] for line in logged().splitlines() if DEAD in line]
        assert set(said) == set(PLANTS["a detached branch"].dead)

"""A dataset that can't be trained or judged with is refused before it is."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from redheart.data import Situation, read_dataset, split_of
from redheart.data.facts import DatasetFacts
from redheart.data.locate import bundled_sample
from redheart.data.sufficiency import check_sufficient, warn_of_constant_targets, warn_of_repeated_texts
from redheart.errors import DataError
from redheart.messages import LOGGER_NAME


@pytest.fixture(scope="module")
def sample() -> list[Situation]:
    return read_dataset(bundled_sample())


@pytest.fixture(autouse=True)
def propagating(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a test runs: what begins as a logger of its own gets ``caplog``'s handler beside the root's, and is heard twice."""
    monkeypatch.setattr(logging.getLogger(LOGGER_NAME), "propagate", True)


def test_the_sample_is_enough(sample: list[Situation]) -> None:
    check_sufficient(DatasetFacts.of(sample), Path("sample.json"))


def test_every_split_that_is_too_small_is_named(sample: list[Situation]) -> None:
    with pytest.raises(DataError) as caught:
        check_sufficient(DatasetFacts.of(sample[:5]), Path("five.json"))
    assert "five.json" in str(caught.value) and "found 5 situations" in str(caught.value)
    assert any("split judge: found" in problem and "wanted at least 2" in problem for problem in caught.value.problems)


def test_only_the_splits_that_are_needed_count(sample: list[Situation]) -> None:
    test_items = [one for one in sample if split_of(one.text) == "test"]
    check_sufficient(DatasetFacts.of(test_items), Path("x.json"), needs=("test",))
    with pytest.raises(DataError, match="split train: found 0"):
        check_sufficient(DatasetFacts.of(test_items), Path("x.json"), needs=("train",))


def test_situations_without_any_target_are_refused(sample: list[Situation]) -> None:
    bare = [
        replace(
            one,
            emotions=None,
            regret_factor=None,
            label=None,
            label_scores=None,
            bentham_scores=None,
            surd_metrics=None,
        )
        for one in sample
    ]
    assert not DatasetFacts.of(bare).has_target.any()
    with pytest.raises(DataError, match="found no target in any"):
        check_sufficient(DatasetFacts.of(bare), Path("bare.json"))


def test_one_kind_of_target_is_enough(tmp_path: Path, sample: list[Situation]) -> None:
    items = [{"id": one.id, "text": one.text, "regret_factor": 0.0} for one in sample]
    path = tmp_path / "regret.json"
    path.write_text(json.dumps(items))
    check_sufficient(DatasetFacts.of(read_dataset(path)), path)


def test_repeated_texts_count_once_for_what_is_needed_and_are_told_of(
    sample: list[Situation], caplog: pytest.LogCaptureFixture
) -> None:
    tests_alone = [one for one in sample if split_of(one.text) == "test"][:1]
    twice = [*tests_alone, replace(tests_alone[0], id="again"), replace(tests_alone[0], id="and again")]
    with pytest.raises(DataError, match="too few") as refusal:
        check_sufficient(DatasetFacts.of(twice), Path("x.json"), needs=("test",))
    assert "split test: found 3 situations of 1 different texts, wanted at least 2 different ones" in str(refusal.value)
    warn_of_repeated_texts(DatasetFacts.of(sample), Path("x.json"))
    assert not caplog.records
    warn_of_repeated_texts(DatasetFacts.of([*sample, *twice]), Path("x.json"))
    (said,) = (record.getMessage() for record in caplog.records)
    assert all(word in said for word in ("x.json", " 3", str(len(sample) + 3), tests_alone[0].id))


def test_annotations_that_do_not_vary_in_the_training_split_are_told_of_by_task_or_dimension(
    sample: list[Situation], caplog: pytest.LogCaptureFixture
) -> None:
    def told(**annotations: object) -> list[str]:
        caplog.clear()
        warn_of_constant_targets(DatasetFacts.of([replace(one, **annotations) for one in sample]), Path("x.json"))  # type: ignore[arg-type]
        return [record.getMessage() for record in caplog.records]

    assert told() == []
    (said,) = told(emotions=(5, 1e-7, 0, 0, 0, 0, 0))
    assert "x.json" in said and "emotion" in said and " 160" in said
    (said,) = told(regret_factor=0.1 + 0.2)
    assert "regret" in said
    (said,) = told(surd_metrics={"selection": 0.5, "risk": 0.5})
    assert "surd" in said and "surd." not in said
    varied = [replace(one, surd_metrics={"selection": 0.5, "risk": 0.01 * (n % 9)}) for n, one in enumerate(sample)]
    caplog.clear()
    warn_of_constant_targets(DatasetFacts.of(varied), Path("x.json"))
    assert "surd.selection" in caplog.text and "surd.risk" not in caplog.text

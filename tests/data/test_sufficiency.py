"""A dataset that can't be trained or judged with is refused before it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from redheart.data import Situation, read_dataset, split_of
from redheart.data.facts import DatasetFacts
from redheart.data.locate import bundled_sample
from redheart.data.sufficiency import check_sufficient
from redheart.errors import DataError


@pytest.fixture(scope="module")
def sample() -> list[Situation]:
    return read_dataset(bundled_sample())


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

"""The facts of situations are what each of them says."""

from __future__ import annotations

import dataclasses

import numpy as np

from redheart.data import SPLITS, read_dataset, split_of
from redheart.data.facts import DatasetFacts
from redheart.data.locate import bundled_sample


def test_facts_are_those_of_each_situation() -> None:
    sample = read_dataset(bundled_sample())
    sample[3] = dataclasses.replace(sample[3], label="INFO", label_scores={"AUTHOR": 2.0})
    sample[4] = dataclasses.replace(sample[4], label="INFO", label_scores={"AUTHOR": 2.0, "INFO": 2.0})
    bare = {"label": None, "label_scores": None, "emotions": None, "regret_factor": None}
    sample[5] = dataclasses.replace(sample[5], **bare, bentham_scores=None, surd_metrics={})
    sample[6] = dataclasses.replace(sample[6], **bare, bentham_scores=None, surd_metrics={"risk": 0.0})
    facts = DatasetFacts.of(sample)
    assert facts.ids == [one.id for one in sample]
    assert [SPLITS[number] for number in facts.splits] == [split_of(one.text) for one in sample]
    assert np.flatnonzero(~facts.has_target).tolist() == [5]
    outvoted = [
        one.id
        for one in sample
        if one.label_scores and one.label and one.label_scores.get(one.label, 0.0) < max(one.label_scores.values())
    ]
    assert sample[3].id in outvoted and sample[4].id not in outvoted
    assert (facts.outvoted, facts.first_outvoted) == (len(outvoted), outvoted[0])
    for split in SPLITS:
        mine = [index for index, one in enumerate(sample) if split_of(one.text) == split]
        assert facts.indices(split).tolist() == mine
        assert facts.counts[split] == len(mine)
        assert facts.counts_with_target[split] == len(set(mine) - {5})


def test_of_no_situation_there_are_empty_arrays() -> None:
    empty = DatasetFacts.of([])
    assert len(empty) == 0 and empty.counts == dict.fromkeys(SPLITS, 0)
    assert empty.targets.values["emotion"].shape == (0, 7)

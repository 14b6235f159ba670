"""Targets are what was annotated and nothing else; the dataset of a run is found in a fixed order."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from redheart.data import Situation, locate_dataset
from redheart.data.locate import bundled_sample
from redheart.data.targets import build_targets
from redheart.errors import DataError


def test_targets_are_the_annotations_and_the_mask_is_what_was_annotated() -> None:
    full = Situation(
        "a", "t", label="OTHER", label_scores={"AUTHOR": 1, "OTHER": 3}, emotions=(0.1, 0, 0, 0, 0, 0, 0.91),
        regret_factor=0.25, bentham_scores={"duration": 0.5, "extent": 0.0}, surd_metrics={"risk": 1.0},
    )  # fmt: skip
    made = build_targets([full, Situation("b", "t", label="NOBODY"), Situation("c", "t")])
    assert {name: values.shape for name, values in made.values.items()} == {
        "emotion": (3, 7), "bentham": (3, 7), "regret": (3, 1), "surd": (3, 4), "verdict": (3, 5), "votes": (3, 5),
    }  # fmt: skip
    assert all(values.dtype == np.float32 for values in made.values.values())
    assert made.values["emotion"][0].sum() == pytest.approx(1, abs=1e-6)
    assert made.values["emotion"][0, 6] == pytest.approx(0.91 / 1.01)
    assert made.values["verdict"][0].tolist() == [0.25, 0.75, 0, 0, 0]
    assert made.values["verdict"][1].tolist() == [0, 0, 0, 1, 0]
    assert made.mask["verdict"].all(axis=1).tolist() == [True, True, False]
    assert made.mask["votes"].all(axis=1).tolist() == [True, False, False]
    assert made.mask["bentham"][0].tolist() == [False, True, False, False, False, False, True]
    assert made.mask["surd"][0].tolist() == [False, False, True, False]
    assert made.mask["regret"][:, 0].tolist() == [True, False, False]
    for name, values in made.values.items():
        assert not values[~made.mask[name]].any()


def test_targets_of_no_situations_are_empty() -> None:
    assert build_targets([]).values["emotion"].shape == (0, 7)


def _write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"id": "a", "text": "t"}]))
    return path


def test_the_current_folder_comes_before_for_learn_dataset_and_the_embedded_file_first(tmp_path: Path) -> None:
    deep = _write(tmp_path / "for_learn_dataset" / "claude_preprocessed_complete.json")
    assert locate_dataset(None, tmp_path).path == deep
    plain = _write(tmp_path / "claude_preprocessed_complete.json")
    assert locate_dataset(None, tmp_path).path == plain
    embedded = _write(tmp_path / "claude_preprocessed_complete.embedded.json")
    found = locate_dataset(None, tmp_path)
    assert (found.path, found.is_bundled_sample) == (embedded, False)


def test_a_dataset_changed_after_it_was_embedded_is_preferred_to_the_embedded_file(tmp_path: Path) -> None:
    embedded = _write(tmp_path / "claude_preprocessed_complete.embedded.json")
    plain = _write(tmp_path / "claude_preprocessed_complete.json")
    os.utime(embedded, (1, 1))
    assert locate_dataset(None, tmp_path).path == plain


def test_a_named_file_is_taken_or_missed_by_name(tmp_path: Path) -> None:
    _write(tmp_path / "claude_preprocessed_complete.json")
    mine = _write(tmp_path / "mine.embedded.json")
    assert locate_dataset(Path("mine.embedded.json"), tmp_path).path == mine
    assert locate_dataset(mine, tmp_path).path == mine
    with pytest.raises(DataError, match=r"other\.json: found no such file"):
        locate_dataset(Path("other.json"), tmp_path)


def test_without_any_dataset_the_bundled_sample_is_taken(tmp_path: Path) -> None:
    if not bundled_sample().exists():
        with pytest.raises(DataError, match="--data FILE"):
            locate_dataset(None, tmp_path)
        return
    found = locate_dataset(None, tmp_path)
    assert found.is_bundled_sample
    assert locate_dataset(found.path, tmp_path).is_bundled_sample

"""A sweep is known again by what its trials mean, and by the texts where a file brought their vectors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import redheart.sweep
from redheart.config import Config, load_config
from redheart.sweep.identity import data_identity, describe_sweep, open_sweep, sweep_identity
from redheart.training.identity import trial_identity
from redheart.workflow import stages


def sweep_on(results: Path, config: Config, texts: str | None, identity: str = "d") -> str:
    """Opens a sweep on a dataset whose texts have this identity; its name."""
    found = identity if texts is None else data_identity(identity, texts, results)
    trial = trial_identity(config, found)
    return open_sweep(config, sweep_identity(config, found), results, trial=trial, texts=texts).name


def test_the_same_vectors_with_other_texts_are_another_sweep_and_the_first_stays_known(tmp_path: Path) -> None:
    config = load_config(None, [])
    first = sweep_on(tmp_path, config, "one")
    assert first == f"{sweep_identity(config, 'd')}-1" and sweep_on(tmp_path, config, "one") == first
    second = sweep_on(tmp_path, config, "two")
    assert second != first and sweep_on(tmp_path, config, "two") == second
    assert sweep_on(tmp_path, config, "three") not in (first, second)
    assert sweep_on(tmp_path, config, "one") == first, "the edit was taken back"
    assert sweep_on(tmp_path, config, "two", "other data") != second
    described = describe_sweep(tmp_path, second)
    assert described is not None and described.texts == "two"


def test_a_sweep_of_before_which_kept_no_texts_counts_for_any(tmp_path: Path) -> None:
    config = load_config(None, [])
    assert sweep_on(tmp_path, config, None) == sweep_on(tmp_path, config, "one")


def test_the_stage_sweeps_again_after_an_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def opened(config: Config, data: Path, identity: str, output: Path, **asked: Any) -> Any:
        trial = trial_identity(config, identity)
        sweep = open_sweep(
            config,
            sweep_identity(asked["asked"], identity),
            output / "lr_sweep_results",
            trial=trial,
            texts=asked["texts"],
        )
        names.append(sweep.name)
        return SimpleNamespace(learning_rate=1e-3)

    monkeypatch.setattr(redheart.sweep, "run_sweep", opened)
    config = load_config(None, [f"output={tmp_path}", "model.preset=tiny"])
    for texts in ("one", "two", "two", "one"):
        facts = SimpleNamespace(counts={"train": 100})
        dataset: Any = SimpleNamespace(identity="d", texts_identity=texts, path=tmp_path / "x.json", facts=facts)
        stages.sweep(config, dataset)
    assert names[0] == names[3] != names[1] == names[2]

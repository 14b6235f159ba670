"""A stage that was done with the same inputs is skipped, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from redheart.errors import StorageError
from redheart.workflow import skipping
from redheart.workflow.skipping import is_done, mark_done

INPUTS = {"metrics": "ab12", "settings": {"loss_weight": 0.3}}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the messages that are said."""
    found: list[str] = []
    monkeypatch.setattr(skipping, "info", lambda key, **_: found.append(key))
    return found


def test_a_stage_is_done_when_its_inputs_are_the_same_and_its_results_there(tmp_path: Path, said: list[str]) -> None:
    result = tmp_path / "result.json"
    assert not is_done(tmp_path, "analyze", INPUTS, [result], force=False)
    mark_done(tmp_path, "analyze", INPUTS)
    assert not is_done(tmp_path, "analyze", INPUTS, [result], force=False), "its result is not there"
    result.write_text("{}")
    assert said == []
    assert is_done(tmp_path, "analyze", INPUTS, [result], force=False)
    assert said == ["workflow.stage_skipped"]


def test_other_inputs_another_stage_or_force_do_it_again(tmp_path: Path, said: list[str]) -> None:
    mark_done(tmp_path, "analyze", INPUTS)
    assert not is_done(tmp_path, "analyze", {**INPUTS, "metrics": "cd34"}, [], force=False)
    assert not is_done(tmp_path, "crossover", INPUTS, [], force=False)
    assert not is_done(tmp_path, "analyze", INPUTS, [], force=True)
    assert said == []


def test_stages_are_remembered_side_by_side(tmp_path: Path, said: list[str]) -> None:
    mark_done(tmp_path, "analyze", INPUTS)
    mark_done(tmp_path, "crossover", {"seed": 1})
    mark_done(tmp_path, "analyze", {"seed": 2})
    assert is_done(tmp_path, "crossover", {"seed": 1}, [], force=False)
    assert is_done(tmp_path, "analyze", {"seed": 2}, [], force=False)
    assert not is_done(tmp_path, "analyze", INPUTS, [], force=False)


def test_a_damaged_memory_is_named_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text('{"analyze": ')
    with pytest.raises(StorageError, match=r"stages\.json: damaged"):
        is_done(tmp_path, "analyze", INPUTS, [], force=False)

"""``save_pretrained``: what transformers' users pass is honoured or refused before anything is written, never ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from redheart.errors import UsageError
from redheart.model import UnifiedModel, dimensions
from tests.model.conftest import fit, make_batch


@pytest.fixture(scope="module")
def model() -> UnifiedModel:
    torch.manual_seed(0)
    return UnifiedModel(dimensions("tiny", d_embed=48), fit(make_batch()))


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"safe_serialization": False}, "safetensors only"),
        ({"state_dict": {}}, "the model's own weights"),
        ({"max_shard_size": "1GB"}, "one file"),
        ({"variant": "fp16"}, "model.safetensors"),
        ({"save_function": torch.save}, "whole or not at all"),
        ({"config": {}}, "config.json"),
        ({"private": True}, "wanted push_to_hub=True with it"),
        ({"commit_message": "x"}, "wanted push_to_hub=True with it"),
        ({"sharded": True}, "which is not taken; wanted some of"),
    ],
    ids=lambda given: ",".join(given) if isinstance(given, dict) else "",
)
def test_what_would_be_ignored_is_refused_and_nothing_is_written(
    model: UnifiedModel, tmp_path: Path, option: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TypeError, match=reason) as told:
        model.save_pretrained(tmp_path / "out", **option)
    assert f"save_pretrained: found {next(iter(option))}=" in str(told.value) and not list(tmp_path.iterdir())


def test_what_is_done_anyway_is_taken(model: UnifiedModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "out", safe_serialization=True, token="t", state_dict=None, private=None)
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    model.save_pretrained(tmp_path / "other", is_main_process=False)
    assert not (tmp_path / "other").exists(), "another process writes"


def test_a_push_has_its_options(model: UnifiedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: dict[str, Any] = {}
    monkeypatch.setattr(UnifiedModel, "push_to_hub", lambda self, **options: pushed.update(options))
    model.save_pretrained(tmp_path / "out", push_to_hub=True, repo_id="a/b", private=True)
    assert (pushed["repo_id"], pushed["private"]) == ("a/b", True)
    with pytest.raises(TypeError, match="safetensors only"):
        model.save_pretrained(tmp_path / "out", push_to_hub=True, safe_serialization=False)


@pytest.mark.parametrize("name", ["", " ", "file"])
def test_what_is_no_folder_is_refused(
    model: UnifiedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    with pytest.raises(UsageError, match="wanted a folder"):
        model.save_pretrained(name)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]

"""A checkpoint of another version of the model is refused by both shapes, wherever it would be read."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from redheart.batches.table import SituationTable
from redheart.checkpoint import list_epochs
from redheart.checkpoint.restore import misfit_of, restore_model
from redheart.crossover.evaluation import Scorer
from redheart.crossover.strategies import EpochFiles, uniform
from redheart.errors import AnotherModel, Interrupted
from redheart.model.modules import backbone
from redheart.storage import read_json
from redheart.storage.seal import write_sealed
from tests.training.runs import train
from tests.training.saving.older_state import writing_older_states

KINDS = r"backbone\.kind\.weight: found \(3, 96\), wanted \(4, 96\)"


def cut_to_three_kinds(folder: Path, file: Path) -> None:
    """Makes ``file`` what it was before whole texts had a kind of their own; the manifest of ``folder`` agrees."""
    tensors = load_file(str(file))
    name = next(name for name in tensors if name.endswith("backbone.kind.weight"))
    save_file({**tensors, name: tensors[name][:3].clone()}, str(file), metadata={"format": "pt"})
    manifest = read_json(folder / "manifest.json")
    entry = manifest["files"][str(file.relative_to(folder))]
    entry |= {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    write_sealed(folder / "manifest.json", manifest)


def after_a_step() -> Callable[[], bool]:
    """Asked in the evaluation before the first step, and after each."""
    answers = iter([False])
    return lambda: next(answers, True)


def test_a_model_with_a_row_a_kind_less_is_not_restored(dataset, settings, tmp_path) -> None:
    train(dataset, tmp_path / "out", settings(epochs=1))
    (epoch,) = list_epochs(tmp_path / "out")
    cut_to_three_kinds(epoch.path, epoch.path / "backbone.safetensors")
    with pytest.raises(AnotherModel, match=KINDS) as refused:
        restore_model(epoch.path)
    assert str(epoch.path) in str(refused.value) and "\n" not in str(refused.value)
    scorer = Scorer(EpochFiles(tmp_path / "out"), SituationTable.open(dataset), samples=10, confidence=0.9, seed=0)
    with pytest.raises(AnotherModel, match=KINDS):
        scorer.choose_loss(uniform("last", [1]))


def test_a_run_with_a_row_a_kind_less_is_not_gone_on_with(dataset, settings, tmp_path) -> None:
    """By a version whose states did not note the shapes of its weights."""
    with writing_older_states(), pytest.raises(Interrupted):
        train(dataset, tmp_path / "out", settings(epochs=2), should_stop=after_a_step())
    (state,) = (tmp_path / "out" / "checkpoints" / "resume").glob("state_*")
    cut_to_three_kinds(state, state / "engine" / "model.safetensors")
    with pytest.raises(AnotherModel, match=r"backbone\.kind\.weight.*\[3, 96\].*\[4, 96\].*--force") as refused:
        train(dataset, tmp_path / "out", settings(epochs=2))
    assert str(state) in str(refused.value) and "\n" not in str(refused.value)


def test_a_state_of_a_model_with_another_shape_is_refused_before_it_is_read(dataset, settings, tmp_path) -> None:
    """As under ZeRO, whose cut weights fit none: the shapes that the state notes of itself decide."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(backbone, "KINDS", 5)
        train(dataset, tmp_path / "out", settings(epochs=2), should_stop=after_a_step())
    (state,) = (tmp_path / "out" / "checkpoints" / "resume").glob("state_*")
    shutil.rmtree(state / "engine")
    manifest = read_json(state / "manifest.json")
    manifest["files"] = {name: entry for name, entry in manifest["files"].items() if not name.startswith("engine")}
    write_sealed(state / "manifest.json", manifest)
    with pytest.raises(AnotherModel, match=r"backbone\.kind\.weight: found \[5, 96\], wanted \[4, 96\]; .*--force"):
        train(dataset, tmp_path / "out", settings(epochs=2))


def test_a_tensor_that_only_one_side_has_is_named() -> None:
    one, other = {"a": torch.zeros(2)}, {"a": torch.zeros(2), "b": torch.zeros(3, 1)}
    assert misfit_of(one, dict(one)) is None
    assert misfit_of(one, other) == "b: found nothing, wanted (3, 1)"
    assert misfit_of(other, one) == "b: found (3, 1), wanted nothing"

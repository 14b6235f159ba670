"""One whole model of a plain resume state."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from redheart.checkpoint import load_modules, read_manifest, save_epoch, save_resume_state
from redheart.errors import NotYetDone, StorageError, UsageError
from redheart.training.saving.resume_state import Cursor
from redheart.workflow.consolidate import consolidate
from tests.checkpoint.states import MANIFEST, a_state, same_bits


def _save(output: Path, seed: int, *, epoch: int, batches_done: int, with_weights: bool = True) -> Path:
    def write(folder: Path) -> None:
        (folder / "engine").mkdir()
        (folder / "engine" / "optimizer.bin").write_bytes(b"moments")
        if with_weights:
            save_file(a_state(seed), str(folder / "engine" / "model.safetensors"))

    cursor = Cursor(
        run="a run",
        epoch=epoch,
        batches_done=batches_done,
        global_step=40 + seed,
        nonfinite_in_a_row=0,
        engine="plain",
        world_size=1,
        manifest=MANIFEST,
    )
    path = save_resume_state(output, cursor, write)
    assert path is not None
    return path


def test_the_newest_state_becomes_a_checkpoint_with_the_same_bits(tmp_path: Path) -> None:
    _save(tmp_path, 1, epoch=2, batches_done=0)
    _save(tmp_path, 2, epoch=3, batches_done=0)
    path = consolidate(tmp_path)
    assert path == tmp_path / "consolidated"
    manifest = read_manifest(path)
    assert same_bits(load_modules(path), a_state(2))
    assert manifest.global_step == 42
    assert manifest.epoch == 2, "epoch 3 has not begun"


def test_a_state_within_an_epoch_is_of_that_epoch(tmp_path: Path) -> None:
    _save(tmp_path, 1, epoch=3, batches_done=5)
    assert read_manifest(consolidate(tmp_path, tmp_path / "elsewhere" / "model")).epoch == 3
    assert (tmp_path / "elsewhere" / "model" / "manifest.json").exists()


def test_a_damaged_state_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    _save(tmp_path, 1, epoch=2, batches_done=0)
    (_save(tmp_path, 2, epoch=3, batches_done=0) / "engine" / "model.safetensors").write_bytes(b"")
    assert same_bits(load_modules(consolidate(tmp_path)), a_state(1))


def test_no_state_or_one_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotYetDone, match="checkpoints/resume: there is no valid resume state to consolidate"):
        consolidate(tmp_path)
    _save(tmp_path, 1, epoch=2, batches_done=0, with_weights=False)
    with pytest.raises(StorageError, match=r"found neither ZeRO shards nor model\.safetensors"):
        consolidate(tmp_path)
    assert not (tmp_path / "consolidated").exists()


def test_what_is_no_model_is_not_replaced_and_a_runs_own_folders_are_left_alone(tmp_path: Path) -> None:
    _save(tmp_path / "training", 1, epoch=2, batches_done=0)
    (tmp_path / "training" / "run.json").write_text("{}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    (tmp_path / "training" / "best_model").mkdir()
    (tmp_path / "training" / "best_model" / "manifest.json").write_text("{}")
    for target, said in (
        (tmp_path / "mine", r"found thesis.txt.* and is left alone"),
        (tmp_path / "mine" / "thesis.txt", "is a file"),
        (tmp_path / "training" / "best_model", "lies in the folder of a run"),
        (tmp_path / "training" / "new", "lies in the folder of a run"),
    ):
        with pytest.raises(UsageError, match=said):
            consolidate(tmp_path / "training", target)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    for _ in range(2):
        assert same_bits(load_modules(consolidate(tmp_path / "training", tmp_path / "outside")), a_state(1))
        assert consolidate(tmp_path / "training") == tmp_path / "training" / "consolidated"


def test_where_a_finished_run_has_no_state_any_more_its_last_epoch_is_named(tmp_path: Path) -> None:
    """Training again would find nothing to do."""
    for epoch in (1, 2):
        save_epoch(tmp_path, epoch=epoch, state=a_state(epoch), manifest=MANIFEST)
    with pytest.raises(NotYetDone, match=r"the last epoch is whole as it is: .*/checkpoints/epoch_0002$"):
        consolidate(tmp_path)

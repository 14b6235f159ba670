"""The thinning of an epoch: what stays is bit for bit there and listed, what goes is named, and a kill leaves one of the two."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from redheart.checkpoint import list_epochs, load_modules, read_manifest, save_epoch
from redheart.checkpoint.epoch import epochs_folder
from redheart.checkpoint.module_files import module_of
from redheart.checkpoint.thinning import bytes_given_up, remove_superseded, thin
from redheart.errors import StorageError, UsageError
from redheart.storage.seal import write_sealed
from tests.checkpoint.states import MANIFEST, a_state, same_bits

KEEP = ("heads.emotion", "phases")


def _only(output: Path) -> list[str]:
    return sorted(path.name for path in epochs_folder(output).iterdir())


def test_what_is_kept_is_a_new_generation_whose_manifest_and_index_list_it_and_nothing_else(tmp_path: Path) -> None:
    state = a_state(3)
    saved = save_epoch(tmp_path, epoch=3, state=state, manifest=MANIFEST)
    size = bytes_given_up(saved, KEEP)
    left = thin(tmp_path, saved, KEEP)
    kept = {name: tensor for name, tensor in state.items() if module_of(name) in KEEP}
    assert _only(tmp_path) == ["epoch_0003.g2"]
    assert {path.name for path in left.path.iterdir()} == {
        *(f"{module}.safetensors" for module in KEEP), "manifest.json", "model.safetensors.index.json"
    }  # fmt: skip
    assert same_bits(load_modules(left.path, KEEP), kept)
    index = json.loads((left.path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(kept)
    assert index["metadata"]["total_size"] == sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
    (listed,) = list_epochs(tmp_path, verify=True)
    assert listed == left and not left.is_whole and set(left.manifest.modules) == set(KEEP)
    assert (left.manifest.epoch, left.manifest.global_step) == (3, saved.manifest.global_step)
    assert size == sum(e.bytes for name, e in saved.manifest.files.items() if name not in left.manifest.files)


def test_it_can_be_thinned_further_down_to_nothing_and_is_still_an_epoch_that_was_trained(tmp_path: Path) -> None:
    one = thin(tmp_path, save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST), KEEP)
    assert thin(tmp_path, one, [*KEEP, "backbone"]) is one, "what went does not come back"
    one = thin(tmp_path, one, ["phases"])
    assert one.manifest.modules == ("phases",)
    nothing = thin(tmp_path, one, [])
    assert list_epochs(tmp_path, verify=True) == [nothing] and nothing.manifest.modules == ()
    assert _only(tmp_path) == ["epoch_0001.g4"]
    again = save_epoch(tmp_path, epoch=1, state=a_state(2), manifest=MANIFEST)
    assert again.is_whole and list_epochs(tmp_path, verify=True) == [again] and _only(tmp_path) == ["epoch_0001.g5"]


def test_who_needs_a_whole_model_is_told_what_is_left_of_it(tmp_path: Path) -> None:
    left = thin(tmp_path, save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST), KEEP)
    with pytest.raises(
        UsageError, match=r"epoch_0001\.g2: found an epoch of which 2 of 17 modules are kept .*best_model"
    ):
        read_manifest(left.path)


def test_a_file_that_is_missing_is_not_one_that_was_given_up(tmp_path: Path) -> None:
    left = thin(tmp_path, save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST), KEEP)
    (left.path / "phases.safetensors").unlink()
    assert list_epochs(tmp_path) == []
    with pytest.raises(StorageError, match=r"phases\.safetensors: found nothing"):
        read_manifest(left.path, takes_thinned=True)


@pytest.mark.parametrize("also", ["nonsense", "phases", "backbone"])
def test_a_manifest_whose_list_of_what_was_given_up_can_not_be_true_is_damaged(tmp_path: Path, also: str) -> None:
    """An unknown module, one whose file is listed, and one that stands there twice."""
    left = thin(tmp_path, save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST), KEEP)
    path = left.path / "manifest.json"
    manifest = json.loads(path.read_text())
    write_sealed(path, {**manifest, "thinned": [*manifest["thinned"], also]})
    assert list_epochs(tmp_path) == []
    with pytest.raises(
        StorageError, match=rf"manifest\.json: .*thinned: found '{also}', wanted modules without a file"
    ):
        read_manifest(left.path, takes_thinned=True)


def test_without_hard_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST)

    def refuse(*paths: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    left = thin(tmp_path, saved, KEEP)
    assert [one.path for one in list_epochs(tmp_path, verify=True)] == [left.path]


def test_what_fails_leaves_the_epoch_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST)

    def refuse(*paths: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StorageError, match=r"epoch_0001: not thinned: .*it is as it was"):
        thin(tmp_path, saved, KEEP)
    assert list_epochs(tmp_path, verify=True) == [saved] and _only(tmp_path) == ["epoch_0001"]


def test_an_earlier_generation_that_a_kill_left_goes_at_the_next_start_and_one_that_counts_stays(
    tmp_path: Path,
) -> None:
    for epoch in (1, 2):
        save_epoch(tmp_path, epoch=epoch, state=a_state(epoch), manifest=MANIFEST)
    first, second = list_epochs(tmp_path)
    shutil.copytree(first.path, tmp_path / "copy")
    left = thin(tmp_path, first, KEEP)
    (tmp_path / "copy").rename(first.path)
    torn = second.path.with_name("epoch_0002.g2")
    torn.mkdir()
    assert [one.path for one in list_epochs(tmp_path)] == [left.path, second.path]
    assert remove_superseded(tmp_path) == [first.path]
    assert _only(tmp_path) == ["epoch_0001.g2", "epoch_0002", "epoch_0002.g2"]

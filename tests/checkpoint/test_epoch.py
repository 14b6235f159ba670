"""The checkpoint of an epoch: whole or not listed, the same bits back, damage named by file."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path

import pytest
import torch

from redheart.checkpoint import epoch as epoch_module
from redheart.checkpoint import (
    find_start,
    list_epochs,
    load_modules,
    read_manifest,
    save_epoch,
    save_model,
)
from redheart.checkpoint.epoch import epochs_folder
from redheart.checkpoint.module_files import module_of
from redheart.errors import StorageError
from redheart.tasks import MODULES
from tests.checkpoint.states import MANIFEST, a_state, same_bits, save_start
from tests.storage.full_disk import no_file_over

#: The module; the package has its function under the same name.
replace_module = import_module("redheart.storage.replace_folder")


def _names(output: Path) -> list[str]:
    return sorted(path.name for path in epochs_folder(output).iterdir())


def test_what_is_saved_comes_back_bit_by_bit(tmp_path: Path) -> None:
    states = {number: a_state(number) for number in (2, 1, 10)}
    states[1]["backbone.weight"][0, 0] = float("nan")
    states[1]["backbone.weight"][0, 1] = -0.0
    for number, state in states.items():
        saved = save_epoch(tmp_path, epoch=number, state=state, manifest=MANIFEST)
        assert saved.path.name == f"epoch_{number:04d}"
    listed = list_epochs(tmp_path, verify=True)
    assert [checkpoint.epoch for checkpoint in listed] == [1, 2, 10]
    for checkpoint in listed:
        assert same_bits(load_modules(checkpoint.path), states[checkpoint.epoch])
        assert checkpoint.manifest == read_manifest(checkpoint.path)
        assert checkpoint.manifest.epoch == checkpoint.epoch
        assert checkpoint.manifest.global_step == 7
        assert checkpoint.manifest.dtype == "bfloat16/float32"


def test_the_weights_may_be_read_by_those_who_may_read_the_manifest(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        saved = save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in saved.path.iterdir()} == {0o644}


def test_some_modules_can_be_read_alone(tmp_path: Path) -> None:
    state = a_state(1)
    path = save_epoch(tmp_path, epoch=1, state=state, manifest=MANIFEST).path
    loaded = load_modules(path, ["heads.emotion", "phases"])
    assert set(loaded) == {name for name in state if module_of(name) in ("heads.emotion", "phases")}


def test_the_index_has_the_sharded_form_that_other_tools_read(tmp_path: Path) -> None:
    state = a_state(1)
    path = save_epoch(tmp_path, epoch=1, state=state, manifest=MANIFEST).path
    index = json.loads((path / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {name: f"{module_of(name)}.safetensors" for name in sorted(state)}
    assert index["metadata"]["total_size"] == sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    assert {path.name for path in path.iterdir()} == {
        *(f"{module}.safetensors" for module in MODULES),
        "model.safetensors.index.json",
        "manifest.json",
    }


def test_the_start_has_the_form_of_an_epoch_and_is_listed_as_none(tmp_path: Path) -> None:
    assert find_start(tmp_path) is None
    for number in (1, 2):  # a run that was killed writes it again
        path = save_start(tmp_path, state=a_state(number), manifest=MANIFEST)
    found = find_start(tmp_path)
    assert found is not None and (found.epoch, found.path) == (0, path) == (0, tmp_path / "checkpoints" / "start")
    assert found.manifest == read_manifest(path) and found.manifest.epoch == 0
    assert same_bits(load_modules(path), a_state(2)) and _names(tmp_path) == ["start"] and list_epochs(tmp_path) == []
    (path / "phases.safetensors").unlink()
    with pytest.raises(StorageError, match=r"phases\.safetensors: found nothing.*or remove .*checkpoints/start"):
        find_start(tmp_path)


def test_an_output_without_checkpoints_lists_none(tmp_path: Path) -> None:
    assert list_epochs(tmp_path) == []


@pytest.mark.parametrize("file", ["heads.regret.safetensors", "model.safetensors.index.json"])
def test_a_flipped_byte_is_found_and_the_file_named(tmp_path: Path, file: str) -> None:
    path = save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST).path
    content = bytearray((path / file).read_bytes())
    content[-3] ^= 1
    (path / file).write_bytes(content)
    with pytest.raises(StorageError, match=rf"{file}: its SHA-256"):
        read_manifest(path)
    assert list_epochs(tmp_path, verify=True) == []
    assert len(list_epochs(tmp_path)) == 1, "listing alone looks at sizes, not at every byte"


def test_a_missing_module_file_is_named_and_the_epoch_not_listed(tmp_path: Path) -> None:
    save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST)
    path = save_epoch(tmp_path, epoch=2, state=a_state(2), manifest=MANIFEST).path
    (path / "phases.safetensors").unlink()
    with pytest.raises(StorageError, match=r"phases\.safetensors: found nothing"):
        read_manifest(path)
    with pytest.raises(StorageError, match=r"phases\.safetensors: can't be read"):
        load_modules(path)
    assert [checkpoint.epoch for checkpoint in list_epochs(tmp_path)] == [1]


def test_a_cut_module_file_is_named_with_both_sizes(tmp_path: Path) -> None:
    path = save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST).path
    file = path / "backbone.safetensors"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(
        StorageError, match=rf"backbone\.safetensors: found {size - 1} bytes, the manifest says {size} bytes"
    ):
        read_manifest(path)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": 2, "files": {}}', '{"format": 1, "files": {}}', '{"format": 1, "files": {"a": 3}}'],
)
def test_a_manifest_of_another_form_is_named_and_its_folder_not_listed(tmp_path: Path, content: str) -> None:
    path = save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST).path
    (path / "manifest.json").write_text(content)
    with pytest.raises(StorageError, match=r"manifest\.json"):
        read_manifest(path)
    assert list_epochs(tmp_path) == []


def test_folders_of_other_names_are_no_epochs(tmp_path: Path) -> None:
    path = save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST).path
    for name in (".epoch_0002.writing", "epoch_0003.tmp", "epoch_4", "resume"):
        (path.parent / name).mkdir()
        for file in path.iterdir():
            (path.parent / name / file.name).write_bytes(file.read_bytes())
    assert [checkpoint.epoch for checkpoint in list_epochs(tmp_path)] == [1]


def test_a_new_generation_supersedes_the_old(tmp_path: Path) -> None:
    for seed, name in ((1, "epoch_0001"), (2, "epoch_0001.g2"), (3, "epoch_0001.g3")):
        saved = save_epoch(tmp_path, epoch=1, state=a_state(seed), manifest=MANIFEST)
        assert saved.path.name == name
        assert _names(tmp_path) == [name]
        assert same_bits(load_modules(list_epochs(tmp_path)[0].path), a_state(seed))


def test_the_newest_valid_generation_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_module.shutil, "rmtree", lambda *_, **__: None)  # killed before it cleared the old away
    for seed in (1, 2, 3):
        save_epoch(tmp_path, epoch=1, state=a_state(seed), manifest=MANIFEST)
    assert _names(tmp_path) == ["epoch_0001", "epoch_0001.g2", "epoch_0001.g3"]
    assert [checkpoint.path.name for checkpoint in list_epochs(tmp_path)] == ["epoch_0001.g3"]
    (tmp_path / "checkpoints" / "epoch_0001.g3" / "backbone.safetensors").unlink()
    assert [checkpoint.path.name for checkpoint in list_epochs(tmp_path)] == ["epoch_0001.g2"]


def test_an_epoch_with_more_digits_is_not_taken_for_a_generation(tmp_path: Path) -> None:
    for number in (10_000, 1_000):
        save_epoch(tmp_path, epoch=number, state=a_state(1), manifest=MANIFEST)
    assert [checkpoint.epoch for checkpoint in list_epochs(tmp_path)] == [1_000, 10_000]


def test_a_full_disk_leaves_earlier_epochs_and_nothing_else(tmp_path: Path) -> None:
    for number in (1, 2):
        save_epoch(tmp_path, epoch=number, state=a_state(number), manifest=MANIFEST)
    with no_file_over(20_000), pytest.raises(StorageError, match=r"epoch_0002.*: checkpoint not written.*intact"):
        save_epoch(tmp_path, epoch=2, state=a_state(9, size=4_000), manifest=MANIFEST)
    assert _names(tmp_path) == ["epoch_0001", "epoch_0002"]
    for checkpoint in list_epochs(tmp_path, verify=True):
        assert same_bits(load_modules(checkpoint.path), a_state(checkpoint.epoch))


def test_no_room_for_the_manifest_is_a_storage_error_of_the_checkpoint(tmp_path: Path) -> None:
    with no_file_over(2_000), pytest.raises(StorageError, match=r"checkpoints/epoch_0001: checkpoint not written"):
        save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST)
    assert _names(tmp_path) == []


def test_a_sharded_model_is_refused(tmp_path: Path) -> None:
    # Under ZeRO-3 every name is there, and every tensor is empty.
    shards = {name: torch.empty(0) for name in a_state(1)}
    with pytest.raises(ValueError, match="sharded model saved as if it were whole"):
        save_epoch(tmp_path, epoch=1, state=shards, manifest=MANIFEST)
    one_empty = {**a_state(1), "phases.weight": torch.empty(0)}
    with pytest.raises(ValueError, match=r"1 empty tensors, phases\.weight first"):
        save_epoch(tmp_path, epoch=1, state=one_empty, manifest=MANIFEST)
    without = {name: tensor for name, tensor in a_state(1).items() if not name.startswith("heads.surd.")}
    with pytest.raises(ValueError, match=r"no tensors for heads\.surd"):
        save_epoch(tmp_path, epoch=1, state=without, manifest=MANIFEST)
    assert not list(tmp_path.iterdir())


def test_a_tensor_of_no_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'extra\.weight' belongs to none of the 17 modules"):
        save_epoch(tmp_path, epoch=1, state={**a_state(1), "extra.weight": torch.ones(2)}, manifest=MANIFEST)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_model_that_is_no_epoch_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(replace_module, "exchange", lambda first, second: False)
    for seed in (1, 2, 3):
        path = save_model(tmp_path, "best_model", a_state(seed), MANIFEST)
        assert path == tmp_path / "best_model"
        read_manifest(path)
        assert same_bits(load_modules(path), a_state(seed))
        assert [entry.name for entry in tmp_path.iterdir()] == ["best_model"]


def test_a_full_disk_leaves_the_old_model(tmp_path: Path) -> None:
    save_model(tmp_path, "best_model", a_state(1), MANIFEST)
    with no_file_over(20_000), pytest.raises(StorageError, match="best_model: checkpoint not written"):
        save_model(tmp_path, "best_model", a_state(2, size=4_000), MANIFEST)
    assert same_bits(load_modules(tmp_path / "best_model"), a_state(1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["best_model"]


def test_where_the_file_system_keeps_no_room_a_checkpoint_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS before 4.2 and many others: the C library goes over the file itself, or says that it can't be done."""

    def refused(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.posix_fallocate", refused)
    saved = save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST)
    read_manifest(saved.path)
    assert same_bits(load_modules(saved.path), a_state(1))

"""A conversion from beginning to end: what is written, gone on with, refused, and left behind."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.zero_files import write_zero
from redheart.checkpoint import Manifest, load_modules, read_manifest, save_model
from redheart.consolidation import convert, open_source, place, reading, targets
from redheart.consolidation.writers.written_file import WrittenFile
from redheart.errors import AnotherModel, FolderInUse, Interrupted, StorageError, UsageError
from redheart.storage import sha256_of
from tests.checkpoint.states import MANIFEST, a_state, same_bits
from tests.consolidation.made import flip, model_of_ours, odd_model, state_of, tensors_of
from tests.other_user import as_another_user, let_others_reach
from tests.storage.full_disk import no_file_over


@pytest.fixture
def zero(tmp_path: Path) -> Path:
    """A checkpoint of this project's modules, of two processes under ZeRO-3."""
    write_zero(tmp_path / "zero", model_of_ours(), stage=3, ranks=2)
    return tmp_path / "zero"


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeeds_checkpoint_becomes_every_form_and_each_becomes_every_other(tmp_path: Path, stage: int) -> None:
    write_zero(tmp_path / "zero", model_of_ours(), stage=stage, ranks=2)
    wanted = state_of(model_of_ours())
    names = ("one.safetensors", "one.pth", "folder")
    for name in names:
        convert(open_source(tmp_path / "zero"), tmp_path / name)
    for name in names:
        for ending in names:
            done = convert(open_source(tmp_path / name), tmp_path / f"of_{name}_{ending}".replace("folder", "dir"))
            assert same_bits(tensors_of(open_source(done.path)), wanted), (name, ending)
    assert same_bits(load_file(tmp_path / "one.safetensors"), wanted)
    assert same_bits(torch.load(tmp_path / "one.pth", weights_only=True), wanted)
    assert same_bits(load_modules(tmp_path / "folder"), wanted)
    read_manifest(tmp_path / "folder")


def test_a_folder_has_the_bytes_and_so_the_identity_of_a_checkpoint_that_was_saved(tmp_path: Path) -> None:
    """What was evaluated of a checkpoint is known by its files' hashes."""
    saved = save_model(tmp_path, "saved", a_state(1), MANIFEST)
    torch.save(a_state(1), tmp_path / "weights.pth")
    for source in (saved, tmp_path / "weights.pth"):
        convert(open_source(source), tmp_path / "model")
        found, wanted = read_manifest(tmp_path / "model"), read_manifest(saved)
        assert found.weights_identity == wanted.weights_identity and found.files == wanted.files
        assert found.dtype == wanted.dtype
    assert read_manifest(tmp_path / "model").preset is None, "of the last one nothing was known"


def test_facts_go_along_and_what_was_measured_only_with_unchanged_numbers(tmp_path: Path) -> None:
    scored = Manifest(global_step=7, preset="tiny", epoch=3, metrics={})
    saved = save_model(tmp_path, "saved", a_state(1), scored)
    for dtype, kept in ((None, {}), ("fp32", None), ("bf16", None)):
        convert(open_source(saved), tmp_path / "model", dtype=dtype)
        manifest = read_manifest(tmp_path / "model")
        assert (manifest.preset, manifest.epoch, manifest.metrics) == ("tiny", 3, kept)
    assert manifest.dtype == "bfloat16"
    convert(open_source(saved), tmp_path / "one.safetensors")
    assert open_source(tmp_path / "one.safetensors").facts == scored.without_files()


@pytest.mark.parametrize(("dtype", "torch_dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_floating_point_numbers_are_cast_and_others_kept(tmp_path: Path, dtype: str, torch_dtype: torch.dtype) -> None:
    write_zero(tmp_path / "zero", odd_model(), stage=2, ranks=2)
    convert(open_source(tmp_path / "zero"), tmp_path / "one.safetensors", dtype=dtype)
    wanted = state_of(odd_model())
    cast = {name: one.to(torch_dtype) if one.is_floating_point() else one for name, one in wanted.items()}
    assert same_bits(load_file(tmp_path / "one.safetensors"), cast)
    with pytest.raises(UsageError, match="dtype: found 'fp8', wanted one of fp32, bf16"):
        convert(open_source(tmp_path / "zero"), tmp_path / "other.safetensors", dtype="fp8")


def test_the_hash_of_one_file_is_told_and_nothing_else_is_left(zero: Path, tmp_path: Path) -> None:
    for name in ("one.safetensors", "one.pth"):
        done = convert(open_source(zero), tmp_path / name)
        assert done.sha256 == sha256_of(tmp_path / name) and done.size == (tmp_path / name).stat().st_size
    assert _names(tmp_path) == ["one.pth", "one.safetensors", "zero"]
    unhashed = convert(open_source(zero), tmp_path / "two.safetensors", is_hashed=False)
    assert unhashed.sha256 == "" and sha256_of(unhashed.path) == sha256_of(tmp_path / "one.safetensors")


def _killed_at(call: int, zero: Path, target: Path) -> bool:
    """A conversion in a process of its own that ends, as by kill −9, at its ``call``-th write; whether it got so far."""
    child = os.fork()
    if child == 0:
        count, write = 0, WrittenFile.write

        def counted(self: WrittenFile, content: bytes) -> int:
            nonlocal count
            count += 1
            if count > call:
                os._exit(9)
            return write(self, content)

        WrittenFile.write = counted  # type: ignore[method-assign,assignment]
        try:
            convert(open_source(zero), target, workers=1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork beside threads: they are not there in it, nor needed
def test_a_killed_conversion_goes_on_with_what_it_had_not_written(zero: Path, tmp_path: Path) -> None:
    wanted = state_of(model_of_ours())
    for number, call in enumerate((0, 1, 4, 20, 40, 66)):
        target = tmp_path / f"model{number}"
        assert _killed_at(call, zero, target)
        assert not target.exists()
        done = convert(open_source(zero), target)
        assert same_bits(load_modules(target), wanted)
        assert done.kept == call // 4, "a header, and two parts of a weight and a count, make a file"
        read_manifest(target)
        assert not (tmp_path / f".model{number}.converting").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_a_killed_conversion_left_counts_only_if_it_is_whole_and_of_the_same(zero: Path, tmp_path: Path) -> None:
    target, work = tmp_path / "model", tmp_path / ".model.converting"
    assert _killed_at(20, zero, target)
    damaged = sorted((work / "files").glob("*.safetensors"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    (work / "files" / "foreign").write_text("x")
    assert convert(open_source(zero), target).kept == 4
    shutil.rmtree(target)
    assert _killed_at(20, zero, target)
    assert convert(open_source(zero), target, dtype="bf16").kept == 0, "another type"
    shutil.rmtree(target)
    assert _killed_at(20, zero, target)
    (work / "journal.jsonl").write_text("{\n[]\n")
    assert convert(open_source(zero), target).kept == 0, "a damaged journal"
    shutil.rmtree(target)
    assert _killed_at(20, zero, target)
    shutil.rmtree(zero)
    write_zero(zero, model_of_ours(seed=8), stage=3, ranks=2)
    assert convert(open_source(zero), target).kept == 0, "another source by the same name"
    assert same_bits(load_modules(target), state_of(model_of_ours(seed=8)))


@pytest.mark.parametrize("name", ["one.safetensors", "one.pth"])
def test_one_file_that_is_whole_is_kept_unless_other_facts_are_to_be_in_it(
    zero: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def killed(old: Path, new: Path) -> None:
        raise KeyboardInterrupt

    source = open_source(zero)
    for facts, kept in ((None, 1), (MANIFEST, int(name.endswith(".pth")))):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(targets.os, "replace", killed)
            convert(source, tmp_path / name)
        assert not (tmp_path / name).exists()
        assert convert(dataclasses.replace(source, facts=facts), tmp_path / name).kept == kept
        assert same_bits(tensors_of(open_source(tmp_path / name)), state_of(model_of_ours()))
        (tmp_path / name).unlink()


def test_a_stop_that_was_asked_for_keeps_what_is_whole(zero: Path, tmp_path: Path) -> None:
    asked = iter([False] * 75 + [True] * 1000)
    with pytest.raises(Interrupted, match="model: stopped; the same command goes on"):
        convert(open_source(zero), tmp_path / "model", workers=1, should_stop=lambda: next(asked))
    assert not (tmp_path / "model").exists()
    assert convert(open_source(zero), tmp_path / "model").kept > 0


def test_a_damaged_shard_is_found_before_anything_is_written(zero: Path, tmp_path: Path) -> None:
    shard = next(zero.rglob("*rank_1*optim_states.pt"))
    flip(shard, next(iter(model_of_ours().groups[0].values())).view(-1)[8:15].numpy().tobytes())
    with pytest.raises(StorageError, match=rf"{shard.name}: damaged: the checksum of its part .*/data/\d+' is"):
        convert(open_source(zero), tmp_path / "model")
    assert _names(tmp_path) == ["zero"]


def test_a_disk_without_room_is_told_with_what_is_needed_before_anything_is_written(
    zero: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(place.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 60_000))
    for name in ("model", "one.safetensors", "deep/er/one.pth"):
        with pytest.raises(StorageError, match=rf"{name}: 0\.\d MB are needed on the disk of .*, and 0\.1 MB are free"):
            convert(open_source(zero), tmp_path / name)
    assert _names(tmp_path) == ["zero"]


def test_a_disk_that_fills_meanwhile_is_named_as_that_and_nothing_is_left(zero: Path, tmp_path: Path) -> None:
    save_model(tmp_path, "model", a_state(1), MANIFEST)
    for name in ("model", "one.safetensors", "one.pth"):
        with (
            no_file_over(160),
            pytest.raises(StorageError, match=rf"{name}: not written: File too large \(0\.\d MB are"),
        ):
            convert(open_source(zero), tmp_path / name)
    assert same_bits(load_modules(tmp_path / "model"), a_state(1))
    assert _names(tmp_path) == ["model", "zero"]


def test_a_folder_that_may_not_be_written_in_is_named(zero: Path, tmp_path: Path) -> None:
    let_others_reach(tmp_path)
    convert(open_source(zero), tmp_path / "once.pth")
    for path in zero.rglob("*"):
        path.chmod(0o755)
    zero.chmod(0o755)

    def said() -> str:
        try:
            return str(convert(open_source(zero), tmp_path / "one.pth"))
        except StorageError as error:
            return str(error)

    assert as_another_user(said) == (
        f"{tmp_path / 'one.pth'}: may not be written by this user: the folder {tmp_path} is not theirs to write in"
    )


def test_what_is_there_is_left_alone(zero: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    (tmp_path / "one.pth").write_text("mine")
    os.symlink(tmp_path / "nowhere", tmp_path / "link.safetensors")
    for name, said in (
        ("mine", r"found thesis\.txt.* and is left alone"),
        ("one.pth", "is there already and is left alone"),
        ("link.safetensors", "is there already and is left alone"),
        ("mine/thesis.txt", "is a file, wanted a folder"),
    ):
        with pytest.raises(UsageError, match=said):
            convert(open_source(zero), tmp_path / name)
    assert (tmp_path / "one.pth").read_text() == "mine"


def test_the_source_is_not_written_over(zero: Path, tmp_path: Path) -> None:
    saved = save_model(tmp_path, "saved", a_state(1), MANIFEST)
    for source, target, said in (
        (saved, saved, "is what is to be converted"),
        (saved, saved / "more.pth", "lies among the files of what is to be converted"),
        (zero / "global_step3", zero / "global_step3" / "whole" / "one.pth", "lies among the files of"),
    ):
        with pytest.raises(UsageError, match=said):
            convert(open_source(source), target)
    assert same_bits(load_modules(saved), a_state(1))
    assert convert(open_source(zero), zero / "one.pth").path == zero / "one.pth", (
        "beside DeepSpeed's folder is where people put it"
    )


def test_another_model_is_no_folder_of_modules(tmp_path: Path) -> None:
    state = a_state(1)
    some = {name: one for name, one in state.items() if not name.startswith("heads.emotion.")}
    empty = {**state, "backbone.weight": torch.zeros(0, 3)}
    for content, said in (
        ({"weight": torch.zeros(1)}, "'weight' belongs to none of the 17 modules"),
        (some, r"found no tensors of heads\.emotion, wanted some of each of the 17 modules"),
        (empty, r"backbone\.weight: found an empty tensor, shape \[0, 3\]"),
    ):
        torch.save(content, tmp_path / "weights.pth")
        with pytest.raises(AnotherModel, match=said):
            convert(open_source(tmp_path / "weights.pth"), tmp_path / "model")
        convert(open_source(tmp_path / "weights.pth"), tmp_path / "one.safetensors")
        (tmp_path / "one.safetensors").unlink()
    assert _names(tmp_path) == ["weights.pth"]


def test_two_conversions_of_one_target_are_not_at_work_at_once(zero: Path, tmp_path: Path) -> None:
    def starts_another() -> bool:
        with pytest.raises(FolderInUse, match="model: another conversion is writing it"):
            convert(open_source(zero), tmp_path / "model")
        return False

    convert(open_source(zero), tmp_path / "model", workers=1, should_stop=starts_another)
    assert same_bits(load_modules(tmp_path / "model"), state_of(model_of_ours()))


def test_a_source_that_is_written_to_or_removed_meanwhile_makes_no_model(zero: Path, tmp_path: Path) -> None:
    shard = next(zero.rglob("*rank_1*optim_states.pt"))
    asked = iter(range(10_000))

    def written_to() -> bool:
        if next(asked) == 60:
            os.utime(shard, (0, 0))
        return False

    with pytest.raises(StorageError, match="zero: was written to while it was read"):
        convert(open_source(zero), tmp_path / "model", workers=1, should_stop=written_to)
    source = open_source(zero)
    shard.unlink()
    with pytest.raises(StorageError, match=rf"{shard.name}: could not read: No such file or directory"):
        convert(source, tmp_path / "model")
    assert _names(tmp_path) == ["zero"]


def test_no_more_than_a_slice_is_in_memory_whatever_the_tensors_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SLICE", 4096)
    torch.save({"weight": torch.randn(300, 100)}, tmp_path / "weights.pth")
    longest = 0
    write = WrittenFile.write

    def measured(self: WrittenFile, content: bytes) -> int:
        nonlocal longest
        longest = max(longest, len(content))
        return write(self, content)

    monkeypatch.setattr(WrittenFile, "write", measured)
    for dtype in (None, "bf16"):
        convert(open_source(tmp_path / "weights.pth"), tmp_path / f"{dtype}.safetensors", dtype=dtype)
    assert 0 < longest <= 4096


def test_what_the_disk_refuses_while_reading_is_said_of_the_source(
    zero: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(zero)

    def fails(descriptor: int, buffers: object, offset: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(reading.os, "preadv", fails)
    with pytest.raises(StorageError, match=r"_states\.pt: could not read: Input/output error"):
        convert(source, tmp_path / "model")
    assert _names(tmp_path) == ["zero"]

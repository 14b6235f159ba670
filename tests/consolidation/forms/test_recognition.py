"""The forms of checkpoints that are read, told by what they hold; and what is said of what is none."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.zero_files import write_zero
from redheart.checkpoint import Manifest, save_epoch, save_model, save_resume_state
from redheart.consolidation import Source, open_source
from redheart.consolidation.forms.safetensors_files import read_slices
from redheart.errors import RedHeartError, StorageError, UsageError
from redheart.storage import read_json, write_json
from redheart.storage.seal import write_sealed
from redheart.training.saving.resume_state import Cursor
from tests.checkpoint.states import MANIFEST, a_state, same_bits
from tests.consolidation.made import cut_short, flip, model_of_ours, state_of, tensors_of
from tests.other_user import as_another_user, let_others_reach


def _state() -> dict[str, Tensor]:
    return {"first.weight": torch.arange(6.0).view(2, 3), "first.bias": torch.tensor([1, 2])}


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model", "module"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_a_state_dict_is_found_in_what_scripts_save_and_without_what_wraps_its_names(
    tmp_path: Path, wrapper: str | None, prefix: str
) -> None:
    state = {prefix + name: tensor for name, tensor in _state().items()}
    content = state if wrapper is None else {"epoch": 3, "optimizer": {"state": {0: torch.zeros(2)}}, wrapper: state}
    torch.save(content, tmp_path / "weights.any")
    assert same_bits(tensors_of(open_source(tmp_path / "weights.any")), _state())


def test_a_module_by_the_name_of_a_wrapper_is_no_wrapper(tmp_path: Path) -> None:
    state = {"module.weight": torch.zeros(1), "other.weight": torch.ones(1)}
    torch.save(state, tmp_path / "weights.pth")
    assert same_bits(tensors_of(open_source(tmp_path / "weights.pth")), state)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"weight": torch.zeros(1), "lr": 0.1}, r"lr: found float 0\.1, wanted a tensor"),
        (
            {"state_dict": {"weight": torch.zeros(1), "extra": None}},
            r"state_dict\.extra: found nothing, wanted a tensor",
        ),
        ({"encoder": {"weight": torch.zeros(1)}}, "found encoder, and no tensors among them; wanted a state dict"),
        ({}, "found nothing, and no tensors among them"),
        ([torch.zeros(1)], "found list, wanted a state dict"),
        (torch.zeros(2, 3), r"found a tensor of shape \[2, 3\], wanted a state dict"),
        ({0: torch.zeros(1)}, "wanted a state dict"),
    ],
)
def test_what_is_no_state_dict_is_refused_with_what_was_found(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UsageError, match=said):
        open_source(tmp_path / "weights.pth")


def _sharded(folder: Path) -> Path:
    state = _state()
    index = {"weight_map": {"first.weight": "model-1.safetensors", "first.bias": "model-2.safetensors"}}
    save_file({"first.weight": state["first.weight"]}, folder / "model-1.safetensors")
    save_file({"first.bias": state["first.bias"]}, folder / "model-2.safetensors")
    write_json(folder / "model.safetensors.index.json", index)
    return folder / "model.safetensors.index.json"


def test_safetensors_are_read_one_by_one_by_their_folder_and_by_their_index(tmp_path: Path) -> None:
    index = _sharded(tmp_path)
    (tmp_path / "one").mkdir()
    save_file(_state(), tmp_path / "one" / "weights.safetensors")
    (tmp_path / "one" / "README.md").write_text("mine")
    for path in (tmp_path, index, tmp_path / "one", tmp_path / "one" / "weights.safetensors"):
        assert same_bits(tensors_of(open_source(path)), _state()), path
    (tmp_path / "one" / "weights.safetensors").rename(tmp_path / "one" / "weights")
    assert same_bits(tensors_of(open_source(tmp_path / "one" / "weights")), _state()), "by content, whatever its name"


def test_a_sharded_pytorch_model_is_read_by_its_index(tmp_path: Path) -> None:
    state = _state()
    for number, name in enumerate(state):
        torch.save({name: state[name]}, tmp_path / f"pytorch_model-{number}.bin")
    places = {name: f"pytorch_model-{number}.bin" for number, name in enumerate(state)}
    write_json(tmp_path / "pytorch_model.bin.index.json", {"weight_map": places})
    assert same_bits(tensors_of(open_source(tmp_path)), state)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"first.weight": "absent.safetensors"}, "names the file absent.safetensors, which is not there"),
        (
            {"first.weight": "model-2.safetensors"},
            "says that first.weight is in model-2.safetensors, which does not hold it",
        ),
        (
            {"first.weight": "../model-1.safetensors"},
            "names the file '../model-1.safetensors'; wanted a name in the same",
        ),
        ({"first.weight": 1}, "weight_map: found dict, wanted a file's name for each tensor"),
        ({"first.weight": "model-1.safetensors"}, r"does not name first\.bias \(1 tensors in all\)"),
        (None, "weight_map: found NoneType"),
    ],
)
def test_an_index_that_does_not_tell_what_is_there_is_refused(tmp_path: Path, places: object, said: str) -> None:
    index = _sharded(tmp_path)
    if places == {"first.weight": "model-1.safetensors"}:
        save_file(_state(), tmp_path / "model-1.safetensors")
    write_json(index, {"weight_map": places})
    with pytest.raises(StorageError, match=said):
        open_source(tmp_path)


@pytest.mark.parametrize("count", [1, 20, 300])
def test_a_safetensors_file_that_was_cut_short_is_said_to_be_damaged(tmp_path: Path, count: int) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(100)}, path)
    cut_short(path, count)
    with pytest.raises(StorageError, match=r"weights\.safetensors: damaged"):
        open_source(path)


def test_an_epoch_an_export_a_crossover_and_a_file_of_ours_bring_their_facts(tmp_path: Path) -> None:
    epoch = save_epoch(tmp_path, epoch=4, state=a_state(1), manifest=MANIFEST).path
    combined = {
        "format": 1,
        "what": "crossover",
        "state_dict": a_state(1),
        "choices": {},
        "manifest": msgspec.to_builtins(MANIFEST),
    }
    torch.save(combined, tmp_path / "crossover_final.pth")
    for path, what in ((epoch, "checkpoint"), (tmp_path / "crossover_final.pth", "crossover")):
        source = open_source(path)
        assert source.what == what and source.facts is not None and source.facts.preset == "tiny"
        assert same_bits(tensors_of(source), a_state(1))
    assert open_source(epoch).facts.epoch == 4  # type: ignore[union-attr]


def test_deepspeeds_own_weights_come_before_what_a_script_put_beside_them(tmp_path: Path) -> None:
    """Trainers save the model in 16 bits in the folder above DeepSpeed's."""
    write_zero(tmp_path, model_of_ours(), stage=2, ranks=2)
    save_file({name: one.bfloat16() for name, one in state_of(model_of_ours()).items()}, tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", {"model_type": "another"})
    assert same_bits(tensors_of(open_source(tmp_path)), state_of(model_of_ours()))


def _cursor(manifest: Manifest = MANIFEST) -> Cursor:
    return Cursor(
        run="a run",
        epoch=3,
        batches_done=5,
        global_step=41,
        nonfinite_in_a_row=0,
        engine="zero3",
        world_size=2,
        manifest=manifest,
    )


def _resume_state(folder: Path, *, averaged: bool = False) -> Path:
    def write(inner: Path) -> None:
        write_zero(inner / "engine", model_of_ours(), stage=3, ranks=2).rename(inner / "engine" / "pytorch_model")
        (inner / "engine" / "latest").write_text("pytorch_model")
        whole = state_of(model_of_ours(seed=9))
        for rank in range(2) if averaged else ():
            halves = {name: one.view(-1)[rank * 8 : rank * 8 + 8 - rank] for name, one in whole.items() if one.dim()}
            places = {name: [rank * 8, *whole[name].shape] for name in halves}
            metadata = {"updates": "3", "places": json.dumps(places)}
            save_file({n: one.clone() for n, one in halves.items()}, inner / f"average_{rank:04}.safetensors", metadata)

    path = save_resume_state(folder, _cursor(), write)
    assert path is not None
    return path


@pytest.mark.parametrize("averaged", [False, True])
def test_a_resume_state_is_read_with_its_cursors_facts_and_its_average_where_one_is(
    tmp_path: Path, averaged: bool
) -> None:
    state = _resume_state(tmp_path, averaged=averaged)
    source = open_source(state)
    assert source.facts is not None and (source.facts.epoch, source.facts.global_step) == (3, 41)
    wanted = state_of(model_of_ours())
    if averaged:
        other = state_of(model_of_ours(seed=9))
        wanted |= {name: one for name, one in other.items() if one.dim()}
    assert same_bits(tensors_of(source), wanted)
    assert source.what == "resume state (DeepSpeed ZeRO-3, 2 processes" + (", its average)" if averaged else ")")


@pytest.mark.parametrize("averaged", [False, True])
def test_a_resume_state_by_tensor_is_put_together_from_the_slices_of_all_processes(
    tmp_path: Path, averaged: bool
) -> None:
    model, other = model_of_ours(), model_of_ours(seed=9)

    def write(inner: Path) -> None:
        (inner / "engine").mkdir()
        save_file(dict(model.buffers), inner / "engine" / "outside.safetensors")
        for rank in range(2):
            cut = slice(rank * 8, rank * 8 + 8 - rank)
            weights = {name: one.view(-1)[cut].clone() for name, one in model.groups[0].items()}
            averages = {name: one.view(-1)[cut].clone() for name, one in other.groups[0].items()}
            kinds = {"weight": weights, "exp_avg": {name: one * 3 for name, one in weights.items()}}
            kinds |= {"average": averages} if averaged else {}
            places = {name: [rank * 8, *one.shape] for name, one in model.groups[0].items()}
            save_file(
                {f"{kind}/{name}": one for kind, of in kinds.items() for name, one in of.items()},
                inner / "engine" / f"slices_{rank:04}.safetensors",
                {"places": json.dumps(places), "steps": "{}"},
            )

    state = save_resume_state(tmp_path, _cursor(), write)
    assert state is not None
    source = open_source(state)
    assert same_bits(tensors_of(source), dict(model.buffers) | dict((other if averaged else model).groups[0]))
    assert source.what == f"resume state (by tensor, 2 files{', the average' if averaged else ''})"
    (state / "engine" / "slices_0001.safetensors").unlink()
    content = read_json(state / "manifest.json")
    del content["files"]["engine/slices_0001.safetensors"]
    write_sealed(state / "manifest.json", content)
    with pytest.raises(StorageError, match=r"the slices that are there do not make up its 15 numbers"):
        open_source(state)


def test_a_resume_state_that_lacks_a_file_or_a_slice_is_refused(tmp_path: Path) -> None:
    state = _resume_state(tmp_path, averaged=True)
    (state / "average_0000.safetensors").rename(tmp_path / "kept")
    with pytest.raises(
        StorageError, match=r"average_0000\.safetensors: not found, though .*manifest\.json tells of it"
    ):
        open_source(state)
    content = read_json(state / "manifest.json")
    del content["files"]["average_0000.safetensors"]
    write_sealed(state / "manifest.json", content)
    with pytest.raises(
        StorageError, match=r"the slices that are there do not make up its 15 numbers of shape \[5, 3\]"
    ):
        open_source(state)
    save_file({"backbone.weight": torch.zeros(2)}, state / "average_0000.safetensors")
    with pytest.raises(StorageError, match="metadata does not say where its tensors belong"):
        open_source(state)


@pytest.mark.parametrize("second", [(8, 7), (0, 7), (7, 7), (9, 7), (8, 6), (0, 15)])
def test_slices_that_lie_twice_or_leave_a_gap_make_up_nothing_even_if_their_numbers_add_up(
    tmp_path: Path, second: tuple[int, int]
) -> None:
    files = [tmp_path / "first.safetensors", tmp_path / "second.safetensors"]
    for file, (start, length) in zip(files, ((0, 8), second), strict=True):
        slices = {"weight": torch.arange(float(start), start + length)}
        save_file(slices, file, {"places": json.dumps({"weight": [start, 5, 3]})})
    if second == (8, 7):
        found = tensors_of(Source(tmp_path, "", read_slices(files)))
        assert same_bits(found, {"weight": torch.arange(15.0).view(5, 3)})
        return
    with pytest.raises(StorageError, match=r"weight: the slices that are there do not make up its 15 numbers"):
        read_slices(files)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda manifest: manifest.update(format=99), r"manifest\.json: not a checkpoint manifest of format 1"),
        (lambda manifest: manifest["files"].pop("backbone.safetensors"), r"manifest\.json: .*found none of module"),
        (
            lambda manifest: manifest["files"]["backbone.safetensors"].update(bytes=3),
            r"backbone\.safetensors: found \d+ bytes",
        ),
    ],
)
def test_a_manifest_of_another_version_or_of_other_files_is_refused(tmp_path, change, said) -> None:
    folder = save_model(tmp_path, "model", a_state(1), MANIFEST)
    manifest = read_json(folder / "manifest.json")
    change(manifest)
    write_sealed(folder / "manifest.json", manifest)
    with pytest.raises(StorageError, match=said):
        open_source(folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "found no such file or folder; wanted a checkpoint"),
        (lambda path: path.mkdir(), "found a folder with nothing in it; wanted a checkpoint"),
        (lambda path: path.write_text("weights"), "found a file that begins with b'weights'"),
        (
            lambda path: (path / "checkpoints").mkdir(parents=True),
            r"is the folder of a run; `redheart consolidate --output",
        ),
    ],
)
def test_what_is_no_checkpoint_is_told_what_one_is(tmp_path, make, said) -> None:
    make(tmp_path / "given")
    with pytest.raises(UsageError, match=said):
        open_source(tmp_path / "given")


def test_several_files_without_an_index_have_to_be_named(tmp_path: Path) -> None:
    for name in ("first.safetensors", "second.safetensors"):
        save_file(_state(), tmp_path / name)
    with pytest.raises(UsageError, match=r"found first.safetensors, second.safetensors and no index; name one of them"):
        open_source(tmp_path)


def test_facts_that_are_damaged_in_a_files_metadata_are_named(tmp_path: Path) -> None:
    save_file(_state(), tmp_path / "weights.safetensors", metadata={"redheart": "{"})
    with pytest.raises(StorageError, match="its metadata 'redheart' can't be read"):
        open_source(tmp_path / "weights.safetensors")


def test_what_another_user_may_not_read_is_one_line(tmp_path: Path) -> None:
    let_others_reach(tmp_path)
    (tmp_path / "zero").mkdir()
    write_zero(tmp_path / "zero", model_of_ours(), stage=3, ranks=1)
    save_file(_state(), tmp_path / "weights.safetensors")
    torch.save(_state(), tmp_path / "weights.pth")
    (tmp_path / "closed").mkdir()
    save_file(_state(), tmp_path / "closed" / "weights.safetensors")
    named = {}
    for name in ("weights.safetensors", "weights.pth", "zero"):
        open_source(tmp_path / name)
        closed = next((tmp_path / name).rglob("*_optim_states.pt"), tmp_path / name)
        closed.chmod(0o600)
        named[name] = closed

    def said(path: Path) -> str:
        try:
            opened: Source | str = open_source(path)
        except RedHeartError as error:
            opened = f"{type(error).__name__}: {error}"
        return str(opened)

    for name, closed in named.items():
        answer = as_another_user(lambda name=name: said(tmp_path / name))
        assert answer == f"StorageError: {closed}: could not read: Permission denied"
    (tmp_path / "closed").chmod(0o700)
    for path in (tmp_path / "closed", tmp_path / "closed" / "weights.safetensors"):
        answer = as_another_user(lambda path=path: said(path))
        assert answer == f"StorageError: {path}: could not read: Permission denied"


def test_a_damaged_file_of_an_epoch_is_found_by_its_hash_before_anything_is_written(tmp_path: Path) -> None:
    from redheart.consolidation import convert

    folder = save_model(tmp_path, "model", a_state(1), MANIFEST)
    file = next(folder.glob("*heads*.safetensors"), None) or sorted(folder.glob("*.safetensors"))[0]
    flip(file, a_state(1)[f"{file.stem}.weight"].numpy().tobytes())
    with pytest.raises(StorageError, match=rf"{file.name}: its SHA-256 is not the one that was written"):
        convert(open_source(folder), tmp_path / "out.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]

"""DeepSpeed's checkpoints of ZeRO: what is made of them, beside what DeepSpeed makes, and what is said of damaged ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.zero_files import TAG, Model, write_zero
from redheart.consolidation import open_source
from redheart.consolidation.reading import Reader
from redheart.errors import StorageError, UsageError
from tests.checkpoint.states import same_bits
from tests.consolidation.made import cut_short, flip, odd_model, state_of, tensors_of


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_checkpoint_of_any_stage_and_number_of_processes_is_bit_equal_to_what_deepspeed_makes_of_it(
    tmp_path: Path, stage: int, ranks: int
) -> None:
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    write_zero(tmp_path, odd_model(), stage=stage, ranks=ranks)
    source = open_source(tmp_path)
    found = tensors_of(source)
    assert source.what == f"DeepSpeed ZeRO-{stage}, {ranks} process{'es' if ranks > 1 else ''}"
    assert same_bits(found, state_of(odd_model()))
    theirs = get_fp32_state_dict_from_zero_checkpoint(str(tmp_path))
    # DeepSpeed loses what is frozen under ZeRO-1; here a model is whole.
    assert found.keys() - theirs.keys() == ({"frozen"} if stage == 1 else set())
    assert same_bits({name: found[name] for name in theirs}, dict(theirs))
    assert list(theirs) == [name for name in found if name in theirs], "in the same order"


def test_under_zero3_a_parameter_may_lie_in_two_groups_of_the_flattened_weights(tmp_path: Path) -> None:
    """DeepSpeed cuts what it flattens into sub-groups, and each process's parts are read across them."""
    inner = write_zero(tmp_path, odd_model(), stage=3, ranks=2)
    for file in inner.glob("*_optim_states.pt"):
        state = torch.load(file, weights_only=False)
        first, second = state["optimizer_state_dict"]["fp32_flat_groups"]
        flat = torch.cat([first, second])
        state["optimizer_state_dict"]["fp32_flat_groups"] = [flat[:5].clone(), flat[5:6].clone(), flat[6:].clone()]
        torch.save(state, file)
    assert same_bits(tensors_of(open_source(tmp_path)), state_of(odd_model()))


@pytest.mark.parametrize("stage", [2, 3])
def test_the_optimizers_moments_are_never_read(tmp_path: Path, stage: int) -> None:
    inner = write_zero(tmp_path, odd_model(), stage=stage, ranks=2)
    file = inner / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
    flip(file, torch.full((4,), 0.5).numpy().tobytes())
    flip(file, torch.full((4,), 0.25).numpy().tobytes())
    source = open_source(tmp_path)
    assert same_bits(tensors_of(source), state_of(odd_model()))
    with Reader() as reader:
        for record in source.records:
            reader.check(record)


def test_the_folder_above_the_folder_of_files_and_one_without_latest_are_the_same_checkpoint(tmp_path: Path) -> None:
    inner = write_zero(tmp_path, odd_model(), stage=2, ranks=2)
    (tmp_path / "latest").unlink()
    for path in (tmp_path, inner):
        assert same_bits(tensors_of(open_source(path)), state_of(odd_model()))
    write_zero(tmp_path / "other", odd_model(), stage=2, ranks=2).rename(tmp_path / "global_step9")
    with pytest.raises(UsageError, match="no file 'latest' that says which of global_step3, global_step9 is meant"):
        open_source(tmp_path)
    (tmp_path / "latest").write_text("global_step7\n")
    with pytest.raises(StorageError, match=r"latest: names the folder 'global_step7', which is not there"):
        open_source(tmp_path)


def test_paddings_between_parameters_and_a_checkpoint_without_zero_are_read(tmp_path: Path) -> None:
    inner = write_zero(tmp_path / "padded", odd_model(), stage=2, ranks=2)
    between = [[1, 0, 0], [0, 3, 0]]
    weights = [list(group.values()) for group in odd_model().groups]
    flat = [
        torch.cat([part for one, gap in zip(group, gaps, strict=True) for part in (one.reshape(-1), torch.zeros(gap))])
        for group, gaps in zip(weights, between, strict=True)
    ]
    for rank in range(2):
        file = inner / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        state = torch.load(file, weights_only=False)
        state["optimizer_state_dict"]["param_alignment_paddings"] = between
        half = [(len(one) + 1) // 2 for one in flat]
        state["optimizer_state_dict"]["single_partition_of_fp32_groups"] = [
            one[rank * length : (rank + 1) * length].clone() for one, length in zip(flat, half, strict=True)
        ]
        torch.save(state, file)
    assert same_bits(tensors_of(open_source(tmp_path / "padded")), state_of(odd_model()))

    (tmp_path / "stage0").mkdir()
    module = {"module.first": torch.randn(3, 2), "module.second": torch.arange(2)}
    torch.save({"module": module, "param_shapes": None}, tmp_path / "stage0" / "mp_rank_00_model_states.pt")
    found = tensors_of(open_source(tmp_path / "stage0"))
    assert same_bits(found, {name.removeprefix("module."): one for name, one in module.items()})


OPTIMIZER = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"


@pytest.mark.parametrize(
    ("stage", "damage", "said"),
    [
        (2, lambda inner: (inner / OPTIMIZER).unlink(), r"found no file of rank 1 \(there are those of 0\); wanted 2"),
        (3, lambda inner: (inner / OPTIMIZER).unlink(), r"found no file of rank 1 \(there are those of 0\); wanted 2"),
        (3, lambda inner: (inner / OPTIMIZER.replace("rank_1", "rank_0", 1)).unlink(), "found no file of rank 0"),
        (
            3,
            lambda inner: (inner / "zero_pp_rank_1_mp_rank_00_model_states.pt").unlink(),
            "the model's states under ZeRO-3: found no file of rank 1",
        ),
        (2, lambda inner: (inner / "mp_rank_00_model_states.pt").unlink(), r"found no file \*_model_states.pt"),
        (2, lambda inner: cut_short(inner / OPTIMIZER, 300), rf"{OPTIMIZER}: damaged: .*was it cut short"),
        (2, lambda inner: (inner / OPTIMIZER).write_bytes(b""), rf"{OPTIMIZER}: damaged: it is empty"),
        (
            2,
            lambda inner: shutil.copy(inner / OPTIMIZER, inner / OPTIMIZER.replace("rank_1", "rank_2", 1)),
            "rank_2_.*is of a process beyond the 2 that wrote the others",
        ),
        (
            2,
            lambda inner: shutil.copy(inner / OPTIMIZER, inner / OPTIMIZER.removeprefix("bf16_")),
            "is of rank 1, and so is bf16_.*: files of two saves",
        ),
    ],
)
def test_a_file_that_is_missing_cut_short_or_too_many_is_named(tmp_path, stage, damage, said) -> None:
    damage(write_zero(tmp_path, odd_model(), stage=stage, ranks=2))
    with pytest.raises(StorageError, match=said):
        open_source(tmp_path)


def _change(file: Path, change) -> None:
    state = torch.load(file, weights_only=False)
    change(state)
    torch.save(state, file)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_shapes_that_do_not_make_up_the_weights_are_refused(tmp_path: Path, stage: int) -> None:
    """One number more or less is hidden by padding; a row is not."""
    inner = write_zero(tmp_path, odd_model(), stage=stage, ranks=2)
    for shape in ((70, 3), (1, 3)):
        for file in inner.glob("*_model_states.pt"):
            _change(
                file, lambda state, shape=shape: state["param_shapes"][0].update({"first.weight": torch.Size(shape)})
            )
        with pytest.raises(StorageError, match=r"param_shapes|first\.weight|second\.weight|third\.weight"):
            open_source(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state["optimizer_state_dict"].update(zero_stage=7), r"zero_stage: found 7, wanted 1, 2 or 3"),
        (
            lambda state: state["optimizer_state_dict"].pop("zero_stage"),
            r"zero_stage: found nothing, wanted a whole number",
        ),
        (lambda state: state.pop("optimizer_state_dict"), r"optimizer_state_dict: found nothing, wanted a mapping"),
        (
            lambda state: state["optimizer_state_dict"].pop("fp32_flat_groups"),
            r"fp32_flat_groups: found nothing, wanted a list, as DeepSpeed 0\.5 and later write",
        ),
        (
            lambda state: state["optimizer_state_dict"].update(fp32_flat_groups=["weights"]),
            r"fp32_flat_groups\.0: found str 'weights', wanted a tensor",
        ),
        (
            lambda state: state["optimizer_state_dict"].update(fp32_flat_groups=[torch.zeros(2, 2)]),
            r"fp32_flat_groups\.0: found a tensor of shape \[2, 2\], wanted a flat one",
        ),
        (lambda state: state["optimizer_state_dict"].update(partition_count=3), "found no file of rank 2"),
    ],
)
def test_a_file_of_another_version_names_the_field(tmp_path, change, said) -> None:
    inner = write_zero(tmp_path, odd_model(), stage=3, ranks=2)
    _change(inner / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", change)
    with pytest.raises(StorageError, match=said):
        open_source(tmp_path)


def test_files_of_two_saves_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    inner = write_zero(tmp_path / "one", odd_model(), stage=3, ranks=2)
    other = write_zero(tmp_path / "other", odd_model(), stage=3, ranks=3)
    shutil.copy(other / OPTIMIZER, inner / OPTIMIZER)
    with pytest.raises(StorageError, match=r"found ZeRO-3 with 3 processes, and .* with 2: files of two saves"):
        open_source(tmp_path / "one")


@pytest.mark.parametrize("name", ["layer_00-model_states.pt", "layer_0_expert_3_mp_rank_00_model_states.pt"])
def test_a_model_that_was_cut_by_more_than_zero_is_refused_by_name(tmp_path: Path, name: str) -> None:
    inner = write_zero(tmp_path, odd_model(), stage=2, ranks=2)
    (inner / name).write_bytes(b"")
    with pytest.raises(UsageError, match=rf"{name}: is of a model with experts or a pipeline"):
        open_source(tmp_path)
    (inner / name).rename(inner / "mp_rank_01_model_states.pt")
    with pytest.raises(UsageError, match=r"mp_rank_01_model_states.pt: is of a model that was cut over 2 processes"):
        open_source(tmp_path)


def test_one_of_zero3s_files_by_itself_is_said_to_hold_placeholders(tmp_path: Path) -> None:
    inner = write_zero(tmp_path, Model([{"weight": torch.randn(4), "bias": torch.randn(2)}]), stage=3, ranks=2)
    with pytest.raises(StorageError, match=r"are empty, weight for one: .* name the folder of DeepSpeed's checkpoint"):
        open_source(inner / "zero_pp_rank_0_mp_rank_00_model_states.pt")


def test_a_universal_checkpoint_is_read_too(tmp_path: Path) -> None:
    model = odd_model()
    inner = write_zero(tmp_path / "zero", model, stage=2, ranks=2)
    target = tmp_path / "universal" / TAG
    target.mkdir(parents=True)
    shutil.copy(inner / "mp_rank_00_model_states.pt", target)
    for name, tensor in {name: one for group in model.groups for name, one in group.items()}.items():
        (target / "zero" / name).mkdir(parents=True)
        torch.save({"param": tensor, "cat_dim": 0}, target / "zero" / name / "fp32.pt")
        torch.save(torch.zeros_like(tensor), target / "zero" / name / "exp_avg.pt")
    source = open_source(tmp_path / "universal")
    assert source.what == "DeepSpeed universal" and same_bits(tensors_of(source), state_of(model))
    (target / "zero" / "scale" / "fp32.pt").unlink()
    with pytest.raises(StorageError, match=r"scale/fp32.pt: not found, where the weight scale should be"):
        open_source(target)

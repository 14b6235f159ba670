"""One whole model of a plain resume state, and of any checkpoint that is named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from redheart.checkpoint import load_modules, read_manifest, save_epoch, save_resume_state
from redheart.checkpoint.thinning import thin
from redheart.cli.main import main
from redheart.consolidation import open_source
from redheart.errors import NotYetDone, StorageError, UsageError
from redheart.training.saving.resume_state import Cursor
from redheart.workflow.consolidate import consolidate
from tests.checkpoint.states import MANIFEST, a_state, same_bits
from tests.consolidation.made import tensors_of


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


def test_of_a_thinned_run_without_a_state_the_last_epoch_that_is_whole_is_named(tmp_path: Path) -> None:
    for epoch in (1, 2):
        last = save_epoch(tmp_path, epoch=epoch, state=a_state(epoch), manifest=MANIFEST)
    thin(tmp_path, last, ["phases"])
    with pytest.raises(NotYetDone, match=r"the last epoch is whole as it is: .*/checkpoints/epoch_0001$"):
        consolidate(tmp_path)


def test_the_newest_state_becomes_one_file_too_in_another_type(tmp_path: Path) -> None:
    _save(tmp_path / "training", 1, epoch=2, batches_done=0)
    for name in ("one.safetensors", "one.pth"):
        path = consolidate(tmp_path / "training", tmp_path / name, dtype="bf16")
        found = tensors_of(open_source(path))
        cast = {n: one.bfloat16() if one.is_floating_point() else one for n, one in a_state(1).items()}
        assert same_bits(found, cast)
    with pytest.raises(UsageError, match="is there already"):
        consolidate(tmp_path / "training", tmp_path / "one.pth")


def _said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main([*map(str, words), "--lang", "en"])
    shown = capsys.readouterr()
    return code, shown.out.strip(), shown.err


def test_any_checkpoint_is_converted_wherever_its_name_stands_and_no_run_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = _save(tmp_path / "training", 1, epoch=2, batches_done=0)
    for number, words in enumerate(
        (
            ["SOURCE", "--to", "TARGET"],
            ["--to", "TARGET", "SOURCE"],
            ["--to", "TARGET", "--dtype", "fp32", "SOURCE", "seed=3"],
        )
    ):
        target = tmp_path / f"model{number}.pth"
        typed = [{"SOURCE": str(state), "TARGET": str(target)}.get(word, word) for word in words]
        assert _said(capsys, "consolidate", *typed)[:2] == (0, str(target))
    assert same_bits(torch.load(tmp_path / "model0.pth", weights_only=True), a_state(1))
    assert not (tmp_path / "training" / "redheart.log").exists(), "nothing is written into a run"
    assert _said(capsys, "consolidate", "--output", "training", "seed=3")[:2] == (0, "training/consolidated")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["weights.pth"],
            "found SOURCE and no --to; wanted a folder to write, or a file that ends in .safetensors or .pth",
        ),
        (["--facts-from", "x"], "found --facts-from and no SOURCE: a resume state has facts of its own"),
        (["a.pth", "b.pth", "--to", "x"], "unexpected 'b.pth'; see --help"),
    ],
)
def test_a_command_line_that_says_too_little_or_too_much_is_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["consolidate", *words])
    assert raised.value.code == 2
    assert capsys.readouterr().err == f"redheart consolidate: {line}\n"


def test_a_target_in_a_run_and_a_source_that_is_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = _save(tmp_path / "training", 1, epoch=2, batches_done=0)
    (tmp_path / "training" / "run.json").write_text("{}")
    for source, target, code, said in (
        (state, tmp_path / "training" / "one.pth", 2, "lies in the folder of a run"),
        (tmp_path / "absent", tmp_path / "one.pth", 2, "absent: found no such file or folder; wanted a checkpoint"),
        (state / "engine" / "optimizer.bin", tmp_path / "one.pth", 2, "found a file that begins with b'moments'"),
        (tmp_path / "training", tmp_path / "one.pth", 2, "is the folder of a run; `redheart consolidate --output"),
    ):
        found = _said(capsys, "consolidate", source, "--to", target)
        assert found[0] == code and said in found[2], found
        assert found[2].count("\n") == 1, found[2]


def test_what_nothing_is_known_of_is_told_and_facts_are_taken_from_a_checkpoint_of_the_same_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described = msgspec.structs.replace(MANIFEST, model={"preset": "tiny"}, epoch=3, learning_rate=0.1)
    epoch = save_epoch(tmp_path / "training", epoch=3, state=a_state(1), manifest=described).path
    torch.save(a_state(2), tmp_path / "weights.pth")
    found = _said(capsys, "consolidate", tmp_path / "weights.pth", "--to", tmp_path / "model")
    assert found[0] == 0 and "--facts-from CHECKPOINT of the same model adds what is known" in found[2]
    words = ("consolidate", tmp_path / "weights.pth", "--facts-from", epoch, "--to", tmp_path / "model")
    found = _said(capsys, *words)
    assert found[0] == 0 and "--facts-from" not in found[2]
    manifest = read_manifest(tmp_path / "model")
    assert (manifest.model, manifest.learning_rate) == ({"preset": "tiny"}, 0.1)
    assert (manifest.epoch, manifest.metrics, manifest.global_step) == (None, None, None), "that is of other weights"
    assert same_bits(load_modules(tmp_path / "model"), a_state(2))

    torch.save({**a_state(2), "backbone.weight": torch.zeros(2, 2)}, tmp_path / "weights.pth")
    found = _said(capsys, *words)
    assert found[0] == 9 and "backbone.weight: found [2, 2], wanted [5, 3]" in found[2]
    found = _said(capsys, *words[:3], tmp_path / "weights.pth", *words[4:])
    assert found[0] == 2 and "says nothing of its model" in found[2]

"""The comparison with hashes: every file of every kind of checkpoint, and what brings a damaged one back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from redheart.checkpoint.restore import open_model
from redheart.errors import StorageError
from tests.inspection.conftest import Said, flip
from tests.inspection.test_checkpoints import a_stopped_run
from tests.other_user import as_another_user, let_others_reach

Command = Callable[..., Said]


def test_what_is_whole_is_said_to_be_one_line_each(runs: Path, redheart: Command) -> None:
    said = redheart("checkpoints", "verify", "--output", runs / "training")
    assert said.code == 0 and said.err == ""
    assert [line.split(":")[0] for line in said.out.splitlines()] == [
        f"✅ {name}"
        for name in ("start", "epoch_0001", "epoch_0002", "epoch_0003", "best_model", "crossover_final.pth")
    ]


@pytest.mark.parametrize(
    ("file", "name", "cure"),
    [
        ("checkpoints/epoch_0002/backbone.safetensors", "epoch_0002", "redheart checkpoints rm 2 --output"),
        ("checkpoints/epoch_0002/model.safetensors.index.json", "epoch_0002", "have `redheart train"),
        ("checkpoints/start/heads.surd.safetensors", "start", "or go without it: `redheart checkpoints rm start"),
        ("best_model/kalman_filter.safetensors", "best_model", "written anew by `redheart crossover --force"),
    ],
)
def test_a_flipped_byte_is_found_and_named_with_what_helps(
    runs: Path, redheart: Command, file: str, name: str, cure: str
) -> None:
    flip(runs / "training" / file)
    assert redheart("checkpoints", "ls", "--output", runs / "training").out.count("DAMAGED") == 0, (
        "sizes are as they were"
    )
    said = redheart("checkpoints", "verify", "--output", runs / "training")
    assert said.code == 4
    assert said.err.strip().endswith(f"1 of 6 checkpoints are damaged: {name}")
    (line,) = [line for line in said.out.splitlines() if line.startswith("❌")]
    assert line.startswith(f"❌ {name}: {runs / 'training' / file}: its SHA-256 is not the manifest's") and cure in line
    assert said.out.count("✅") == 5


def test_weights_in_the_archive_are_compared_with_its_checksums(runs: Path, redheart: Command) -> None:
    path = runs / "training" / "crossover_final.pth"
    flip(path, path.stat().st_size // 2)
    assert "DAMAGED" not in redheart("checkpoints", "ls", "--output", runs / "training").out
    said = redheart("checkpoints", "verify", "--output", runs / "training")
    assert said.code == 4 and "❌ crossover_final.pth" in said.out and "Bad CRC-32" in said.out


def test_all_that_is_damaged_of_a_checkpoint_is_named_at_once(runs: Path, redheart: Command) -> None:
    folder = runs / "training" / "checkpoints" / "epoch_0001"
    flip(folder / "backbone.safetensors")
    (folder / "phases.safetensors").unlink()
    said = redheart("checkpoints", "verify", "--output", runs / "training", "--json")
    assert said.code == 4
    told = {one["name"]: one for one in json.loads(said.out)["checkpoints"]}
    assert [fault.partition(": ")[0] for fault in told["epoch_0001"]["faults"]] == [
        str(folder / "backbone.safetensors"),
        str(folder / "phases.safetensors"),
    ]
    assert told["epoch_0001"]["cure"] and told["epoch_0002"] == {**told["epoch_0002"], "faults": [], "cure": None}


@pytest.mark.parametrize("harm", ["flip", "gone", "more"])
def test_a_state_is_damaged_where_training_would_pass_it_over(tmp_path: Path, redheart: Command, harm: str) -> None:
    a_stopped_run(tmp_path, epochs=1, states=(1, 2))
    file = tmp_path / "checkpoints/resume/state_000002/engine/slices_0000.safetensors"
    if harm == "flip":
        flip(file)
    elif harm == "gone":
        file.unlink()
    else:
        file.with_name("optimizer.bin").write_bytes(b"put there")
    said = redheart("checkpoints", "verify", "--output", tmp_path)
    assert said.code == 4 and "1 of 3 checkpoints are damaged: state_000002" in said.err
    assert "training goes on from an older state" in said.out
    assert ("optimizer.bin: was not written by the run" if harm == "more" else str(file)) in said.out


def test_files_that_another_user_may_not_read_are_not_called_damaged(runs: Path, redheart: Command) -> None:
    let_others_reach(runs)
    folder = runs / "training" / "best_model"
    assert redheart("checkpoints", "verify", "--output", runs / "training").code == 0, "all is imported"
    for file in (*folder.glob("*.safetensors"), runs / "training" / "crossover_final.pth"):
        file.chmod(0o600)

    def said(*words: object) -> str:
        told = redheart(*words)
        return f"{told.code} {told.out} {told.err}"

    told = as_another_user(lambda: said("checkpoints", "verify", "--output", runs / "training"))
    assert "checkpoints are damaged, or may not be read by this user: best_model, crossover_final.pth" in told
    assert told.count("ask its owner for the right to read it") == 2 and "Put it back from a copy" not in told
    combined = runs / "training" / "crossover_final.pth"

    def opened() -> str:
        try:
            return str(open_model(combined))
        except StorageError as error:
            return str(error)

    assert as_another_user(opened).startswith(f"{combined}: can't be read: Permission denied")

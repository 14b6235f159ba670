"""The list of a run's checkpoints: what is there, whether it is whole, what is made of it, what would be gone on from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from redheart.checkpoint import save_epoch, save_resume_state
from redheart.checkpoint.thinning import thin
from redheart.inspection.checkpoints import Checkpoint, stored_checkpoints
from redheart.inspection.references import read_references
from redheart.inspection.text_table import shown_width
from redheart.paths import OutputPaths
from redheart.storage import write_json
from tests.checkpoint.states import MANIFEST, a_state
from tests.inspection.conftest import Said, flip

Command = Callable[..., Said]


def listed(output: Path) -> dict[str, Checkpoint]:
    return {one.facts.name: one.facts for one in stored_checkpoints(output, read_references(output))}


def a_stopped_run(output: Path, *, epochs: int, states: tuple[int, ...], finished: bool = False) -> None:
    """Epochs in miniature, and states of the epochs that were under way."""
    write_json(OutputPaths(output).run, {"run": "r", "finished": finished})
    for epoch in range(1, epochs + 1):
        save_epoch(output, epoch=epoch, state=a_state(epoch), manifest=MANIFEST)
    for number, epoch in enumerate(states):

        def write(folder: Path, number: int = number) -> None:
            (folder / "engine").mkdir()
            save_file({"a": torch.full((9,), float(number))}, folder / "engine" / "slices_0000.safetensors")

        cursor = {"run": "r", "epoch": epoch, "batches_done": 3, "global_step": 9, "engine": "plain", "world_size": 1}
        save_resume_state(output, cursor, write)


def test_everything_is_listed_with_its_size_type_and_scores(runs: Path) -> None:
    found = listed(runs / "training")
    assert list(found) == ["start", *(f"epoch_000{n}" for n in (1, 2, 3)), "best_model", "crossover_final.pth"]
    manifest = json.loads((runs / "training" / "checkpoints" / "epoch_0002" / "manifest.json").read_text())
    second = found["epoch_0002"]
    assert second.loss == manifest["metrics"]["choose"]["loss"]
    skills = [task["skill"] for task in manifest["metrics"]["choose"]["tasks"].values() if task["skill"] is not None]
    assert second.mean_skill == pytest.approx(sum(skills) / len(skills))
    folder = runs / "training" / "checkpoints" / "epoch_0002"
    assert second.bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert {one.dtype for one in found.values()} == {"float32"}, "of the .pth too, whose pickle is only looked through"
    assert not any(one.faults for one in found.values())


def test_what_is_made_of_an_epoch_is_told(runs: Path) -> None:
    found = listed(runs / "training")
    analysis = json.loads(OutputPaths(runs / "training").analysis.read_text())["choices"]
    for epoch in (1, 2, 3):
        chosen = tuple(module for module, choice in analysis.items() if choice["epoch"] == epoch)
        assert found[f"epoch_000{epoch}"].modules == chosen
    assert found["start"].candidates == ("start",)
    assert "last" in found["epoch_0003"].candidates and "last" not in found["epoch_0001"].candidates
    assert [name for name, one in found.items() if one.in_best_model] == ["epoch_0003"]
    assert found["best_model"].made_of == ("last", (3,))
    assert found["crossover_final.pth"].made_of == ("crossover", (1, 2, 3))


def test_the_state_that_is_gone_on_from_is_the_newest_that_is_whole(tmp_path: Path) -> None:
    a_stopped_run(tmp_path, epochs=3, states=(3, 4))
    found = listed(tmp_path)
    assert [name for name, one in found.items() if one.is_gone_on_from] == ["state_000002"]
    position = found["state_000002"].position
    assert position is not None and (position.epoch, position.batches_done) == (4, 3)
    assert found["state_000002"].dtype == "float32"
    (tmp_path / "checkpoints/resume/state_000002/engine/slices_0000.safetensors").write_bytes(b"short")
    found = listed(tmp_path)
    assert [name for name, one in found.items() if one.is_gone_on_from] == ["state_000001"]
    assert "slices_0000.safetensors: found 5 bytes" in found["state_000002"].faults[0]


@pytest.mark.parametrize("change", [{"finished": True}, {"run": "another"}])
def test_no_state_is_gone_on_from_where_the_run_is_finished_or_another(
    tmp_path: Path, change: dict[str, str | bool]
) -> None:
    a_stopped_run(tmp_path, epochs=1, states=(2,))
    write_json(OutputPaths(tmp_path).run, {"run": "r", "finished": False, **change})
    assert not any(one.is_gone_on_from for one in listed(tmp_path).values())


def test_of_two_generations_the_one_that_does_not_count_is_marked(tmp_path: Path) -> None:
    a_stopped_run(tmp_path, epochs=1, states=())
    first = tmp_path / "checkpoints" / "epoch_0001"
    shutil.copytree(first, first.with_name("kept"))
    save_epoch(tmp_path, epoch=1, state=a_state(2), manifest=MANIFEST)
    first.with_name("kept").rename(first)
    found = listed(tmp_path)
    assert {name: one.is_superseded for name, one in found.items()} == {"epoch_0001": True, "epoch_0001.g2": False}
    (first.with_name("epoch_0001.g2") / "manifest.json").unlink()
    found = listed(tmp_path)
    assert not found["epoch_0001"].is_superseded and found["epoch_0001.g2"].faults, "the older one counts now"
    (first / "manifest.json").unlink()
    assert not any(one.is_superseded for one in listed(tmp_path).values()), "none counts"


def test_a_thinned_epoch_says_how_many_of_its_modules_are_left(tmp_path: Path, redheart: Command) -> None:
    thin(tmp_path, save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST), ["phases", "backbone"])
    said = redheart("checkpoints", "ls", "--output", tmp_path)
    (row,) = [line for line in said.out.splitlines() if line.startswith("epoch_0001.g2")]
    assert "2 of 17 modules" in row
    verified = redheart("checkpoints", "verify", "--output", tmp_path)
    assert (
        verified.code == 0
        and "epoch_0001.g2: undamaged, 2 of 17 modules" in verified.out
        and "whole" not in verified.out
    )
    phases = tmp_path / "checkpoints/epoch_0001.g2/phases.safetensors"
    phases.write_bytes(phases.read_bytes()[:-1] + b"x")
    said = redheart("checkpoints", "verify", "--output", tmp_path)
    assert said.code != 0 and "phases.safetensors" in said.out + said.err


def test_a_damaged_manifest_is_named_and_the_rest_is_shown(runs: Path, redheart: Command) -> None:
    (runs / "training/checkpoints/epoch_0002/manifest.json").write_text("{")
    OutputPaths(runs / "training").analysis.write_text("[")
    said = redheart("checkpoints", "ls", "--output", runs / "training")
    assert said.code == 0
    assert "epoch_0002/manifest.json: damaged, not valid JSON" in said.out
    assert "sweet_spot_analysis.json: damaged, not valid JSON" in said.out
    rows = [line.split()[:1] for line in said.out.splitlines()]
    assert ["epoch_0003"] in rows and "DAMAGED" in next(x for x in said.out.splitlines() if x.startswith("epoch_0002"))


def test_an_archive_without_its_end_or_with_another_pickle_is_seen_at_once(runs: Path) -> None:
    path = OutputPaths(runs / "training").combined
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert "crossover_final.pth: damaged" in listed(runs / "training")["crossover_final.pth"].faults[0]
    path.write_bytes(whole)
    flip(path, 5000)
    assert "Bad CRC-32 for file 'archive/data.pkl'" in listed(runs / "training")["crossover_final.pth"].faults[0]


@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_table_fits_a_hundred_columns_in_both_languages(runs: Path, redheart: Command, language: str) -> None:
    for run in ("training", "interrupted"):
        said = redheart("checkpoints", "ls", "--output", runs / run, "--lang", language)
        table = said.out.partition("\n\n")[0].splitlines()
        assert max(map(shown_width, table)) <= 100
        sizes = {shown_width(line[: line.index("KiB")]) for line in table if "KiB" in line}
        assert len(sizes) == 1, "the sizes stand under each other"


def test_the_json_holds_the_same(runs: Path, redheart: Command) -> None:
    said = redheart("checkpoints", "ls", "--json", "--output", runs / "interrupted")
    told = json.loads(said.out)
    assert [one["name"] for one in told["checkpoints"]] == ["start", "epoch_0001", "state_000002"]
    assert told["bytes"] == sum(one["bytes"] for one in told["checkpoints"])
    assert told["checkpoints"][2]["is_gone_on_from"] and told["checkpoints"][2]["position"]["batches_done"] == 1
    assert [msgspec.to_builtins(one)["path"] for one in listed(runs / "interrupted").values()] == [
        one["path"] for one in told["checkpoints"]
    ]


def test_where_no_checkpoint_is_that_is_said_and_nothing_is_made(tmp_path: Path, redheart: Command) -> None:
    (tmp_path / "empty").mkdir()
    for what in ("ls", "verify", "rm"):
        words = ["3"] if what == "rm" else []
        said = redheart("checkpoints", what, *words, "--output", tmp_path / "absent")
        assert said.code == 2 and "absent: found no such folder, wanted that of a run" in said.err
        said = redheart("checkpoints", what, *words, "--output", tmp_path / "empty")
        assert said.code == 6 and "empty: found no checkpoint; `redheart train` writes them" in said.err
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_neither_list_nor_hashes_need_torch(runs: Path) -> None:
    code = (
        "import sys; from redheart.cli.main import main\n"
        f"assert main(['checkpoints', 'ls', '--output', {str(runs / 'training')!r}]) == 0\n"
        f"assert main(['checkpoints', 'verify', '--output', {str(runs / 'training')!r}]) == 0\n"
        f"assert main(['checkpoints', 'rm', '1', '--force', '--output', {str(runs / 'training')!r}]) == 0\n"
        "assert not {'torch', 'numpy', 'scipy'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr

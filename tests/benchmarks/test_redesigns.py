"""The benchmark of redesigns: each does to the model what its words say and nothing else, and both differences are paired."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.redesigns import REDESIGNS, SHARE, Redesign, main, started_alike
from redheart.ablation.variants import WHOLE, builder
from redheart.model import UnifiedModel, dimensions
from redheart.tasks import ANALYZED_TASKS, GROUPS, TASKS
from tests.model.conftest import fit, make_batch
from tests.training.small_data import write_embedded

DIMS = dimensions("tiny", d_embed=48)


def built(redesign: Redesign) -> UnifiedModel:
    torch.manual_seed(0)
    return started_alike(redesign.build)(DIMS, fit(make_batch())).eval()


def as_it_is() -> UnifiedModel:
    torch.manual_seed(0)
    return builder(WHOLE)(DIMS, fit(make_batch())).eval()


def named(part: str, words: str) -> Redesign:
    (found,) = (one for one in REDESIGNS if one.part == part and words in one.what)
    return found


def test_every_part_but_the_heads_has_two() -> None:
    parts = [one.part for one in REDESIGNS]
    assert {part: parts.count(part) for part in GROUPS} == {part: 2 if part != "heads" else 0 for part in GROUPS}


@pytest.mark.parametrize("redesign", REDESIGNS, ids=lambda one: f"{one.part}: {one.what}")
def test_a_redesign_changes_what_is_predicted_or_learned_and_starts_alike_elsewhere(redesign: Redesign) -> None:
    batch = make_batch()
    plain, other = as_it_is(), built(redesign)
    start = plain.state_dict()
    changed = {
        name
        for name, tensor in other.state_dict().items()
        if name not in start or start[name].shape != tensor.shape or not torch.equal(start[name], tensor)
    }
    assert all(name.startswith((redesign.part, "heads.")) for name in changed)
    if "shared" in redesign.what:
        assert sum(one.numel() for one in other.parameters()) < sum(one.numel() for one in plain.parameters())
    outputs, before = other(*batch.inputs), plain(*batch.inputs)
    assert any(
        not torch.equal(one, two)
        for found, was in zip(outputs, before, strict=True)
        for one, two in zip(found.values(), was.values(), strict=True)
    )


@pytest.mark.parametrize("part", ["phases", "dsp_simulator", "kalman_filter", "neural_analyzers"])
def test_every_head_reads_and_no_other_model_does(part: str) -> None:
    model = built(named(part, "every head reads"))
    for task in TASKS:
        assert [name for name in model.heads[task.name].reads if name.startswith(part)], task.name
    assert [name for name in as_it_is().heads["surd"].reads] == ["neural_analyzers.surd"]


def test_a_fifth_of_its_own_prediction_is_added_and_the_prior_counts_once() -> None:
    batch = make_batch()
    before, outputs = as_it_is()(*batch.inputs), built(named("dsp_simulator", "a fifth"))(*batch.inputs)
    prior = as_it_is().heads["emotion"].prior_log
    wanted = before.predictions["emotion"] + SHARE * (before.auxiliary["dsp_simulator"] - prior)
    torch.testing.assert_close(outputs.predictions["emotion"], wanted)
    torch.testing.assert_close(outputs.predictions["surd"], before.predictions["surd"])


def test_the_wrappers_own_loss_reaches_the_correction_and_neither_head_nor_analyzer() -> None:
    model = built(named("advanced_wrappers", "corrects the head"))
    outputs = model(*make_batch().inputs)
    sum(outputs.auxiliary[f"advanced_wrappers.{name}"].square().sum() for name in ANALYZED_TASKS).backward()
    assert model.advanced_wrappers["surd"].correct.weight.grad.any()
    assert (
        model.heads["surd"].read_out.weight.grad is None and model.neural_analyzers["surd"].predict.weight.grad is None
    )
    assert model.advanced_wrappers["surd"].gate.grad is None


def test_it_measures_against_the_part_as_it_is_and_against_none_and_keeps_what_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_embedded(tmp_path)
    words = ["--data", str(data), "--runs", str(tmp_path / "out"), "--seeds", "2", "--epochs", "1", "--only", "phases"]
    assert main([*words, "--result", str(tmp_path / "result.json")]) == 0
    assert capsys.readouterr().out.count("phases: ") == 2
    result = json.loads((tmp_path / "result.json").read_text())
    assert {"date", "machine", "versions", "settings"} <= result.keys() and len(result["redesigns"]) == 2
    for record in result["redesigns"]:
        assert len(record["chosen_epochs"]) == 2
        for against in ("as it is", "without it"):
            assert {"emotion_kl", "mean_r2", "verdict_log_loss", "mean_skill"} == record[against].keys()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").glob("*.json")}
    assert sorted(kept) == ["phases_seed0.json", "phases_seed1.json", "whole_seed0.json", "whole_seed1.json"]

"""The benchmark of floors: its stored result is whole and keeps the promise, and it can say that one is not kept."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import benchmarks.loss_floors as benchmark
from benchmarks.loss_floors import ANNOTATED, DROPPED, PROMISED, RESULT, SMOOTHED, VOTES, choose, entropies, main
from redheart.batches.table import SituationTable
from redheart.model import Batch, Outputs, UnifiedModel, dimensions
from redheart.model.losses import TERMS, Losses, compute_losses
from redheart.tasks import TASKS
from tests.training.small_data import embedded_items, write_embedded

EVERY_TERM = [term.name for term in TERMS]
R_DROP_TERMS = [f"r_drop.{task.name}" for task in TASKS]
FLOORS = ("floor_alone", "floor", "under_dropout")


def check_form(result: dict[str, Any]) -> None:
    """Every term of every part, with numbers that fit each other; device, versions and date."""
    assert set(result) == {
        *("date", "machine", "versions", "preset", "seconds", "parts", "promised", "missed"),
    }
    assert set(result["machine"]) == {"device", "processor", "cores", "system"}
    assert set(result["versions"]) == {"python", "torch"} and result["promised"] == PROMISED
    for name, part in result["parts"].items():
        wanted = EVERY_TERM + R_DROP_TERMS if name == DROPPED.name else EVERY_TERM
        wanted = ["heads.verdict", "phases.community"] if name == VOTES.name else wanted
        assert list(part["terms"]) == wanted
        for term, one in part["terms"].items():
            assert set(one["start"]) == {"constant", "untrained", "linear start"} and one["entropy"] >= 0
            assert all(math.isfinite(one[key]) for key in ("highest", "loss_alone", "reached", "without_dropout"))
            if term in R_DROP_TERMS:
                assert not set(FLOORS) & set(one) and one["start"]["constant"] == one["without_dropout"] == 0.0
                continue
            start = min(one["start"].values()) - one["entropy"]
            assert start > 0
            for floor, key in zip(FLOORS, ("loss_alone", "without_dropout", "reached"), strict=True):
                assert one[floor] == pytest.approx((one[key] - one["entropy"]) / start) and one[floor] > -1e-4
    assert result["missed"] == benchmark.missed(result["parts"])


def test_the_stored_result_is_whole_and_no_term_has_a_floor() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    check_form(result)
    assert set(result["parts"]) == {part.name for part in (ANNOTATED, SMOOTHED, DROPPED, VOTES)}
    assert all(part["situations"] >= 16 for part in result["parts"].values())
    assert result["missed"] == []


def test_too_few_steps_leave_floors_of_the_model_and_are_told(tmp_path: Path) -> None:
    dataset, result = write_embedded(tmp_path), tmp_path / "floors.json"
    torch.set_num_threads(1)
    words = ["--data", str(dataset), "--votes", str(dataset), "--situations", "4", "--steps", "2"]
    assert main([*words, "--result", str(result)]) == 1
    found = json.loads(result.read_text(encoding="utf-8"))
    check_form(found)
    assert all("of the model" in line for line in found["missed"]) and len(found["missed"]) > 18


@pytest.fixture
def some(tmp_path: Path) -> tuple[UnifiedModel, Batch]:
    table = SituationTable.open(write_embedded(tmp_path))
    torch.manual_seed(0)
    model = UnifiedModel(
        dimensions("tiny", d_embed=table.d_embed, dropout=0.0), table.statistics(table.split_indices["train"])
    )
    return model, table.batch(choose(table, 4))


def floors_alone(model: UnifiedModel, batch: Batch) -> list[str]:
    """The terms of which the loss alone is found to have a floor."""
    constant = benchmark.constant_outputs(model, batch)
    start = ANNOTATED.losses(lambda _: constant, batch, model.statistics).terms
    reached = benchmark.free_numbers(ANNOTATED, constant, batch, model.statistics)
    bound = entropies(batch)
    shares = {name: (reached[name] - bound[name]) / (float(start[name].detach()) - bound[name]) for name in reached}
    return [name for name, share in shares.items() if share > PROMISED]


def test_a_floor_in_the_loss_is_found_in_the_term_that_has_it(
    some: tuple[UnifiedModel, Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert floors_alone(*some) == []

    def planted(*args: Any, **options: Any) -> Losses:
        losses = compute_losses(*args, **options)
        for name, constant in (("neural_analyzers.surd", 0.05), ("heads.emotion", 0.01)):
            losses.terms[name] = losses.terms[name] + constant
        return losses

    monkeypatch.setattr(benchmark, "compute_losses", planted)
    assert floors_alone(*some) == ["heads.emotion", "neural_analyzers.surd"]


def test_what_is_in_the_total_and_in_no_term_is_found(
    some: tuple[UnifiedModel, Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = some
    parts: dict[str, Any] = {}
    for added in (0.0, 0.01):

        def planted(*args: Any, added: float = added, **options: Any) -> Losses:
            losses = compute_losses(*args, **options)
            return Losses(losses.total + added, losses.terms)

        monkeypatch.setattr(benchmark, "compute_losses", planted)
        *_, apart = benchmark.learn_by_heart(DROPPED, model, batch, steps=1, learning_rate=1e-3)
        parts[f"{added}"] = {"terms": {}, "beside_the_terms": apart}
    assert [line.partition(":")[0] for line in benchmark.missed(parts)] == ["the total (0.01)"]


def test_a_floor_in_the_model_is_found_in_the_term_that_has_it(some: tuple[UnifiedModel, Batch]) -> None:
    model, batch = some
    batch = batch.rows(0, 2)
    whole = model.forward

    def bounded(*inputs: torch.Tensor) -> Outputs:
        outputs = whole(*inputs)
        outputs.auxiliary["phases.empathy"] = 0.1 * torch.tanh(outputs.auxiliary["phases.empathy"])
        return outputs

    model.forward = bounded  # type: ignore[method-assign]
    start = ANNOTATED.losses(lambda seen: model(*seen.inputs), batch, model.statistics).terms
    _, reached, _ = benchmark.learn_by_heart(ANNOTATED, model, batch, steps=40, learning_rate=1e-3)
    bound = entropies(batch)
    shares = {name: (reached[name] - bound[name]) / (float(start[name].detach()) - bound[name]) for name in reached}
    numbers = {name: share for name, share in shares.items() if not bound[name]}
    assert max(numbers, key=lambda name: numbers[name]) == "phases.empathy"
    assert numbers["phases.empathy"] > 0.2


def test_situations_without_some_target_are_passed_over(tmp_path: Path) -> None:
    items = embedded_items()
    for item in items[::2]:
        item["bentham_scores"].pop("purity")
    table = SituationTable.open(write_embedded(tmp_path, items))
    lacking = {item["id"] for item in items[::2]}
    chosen = [table.ids[index] for index in choose(table, 16)]
    assert len(chosen) == 16 and not lacking & set(chosen)
    assert np.isin(choose(table, 16), table.split_indices["train"]).all()
    with pytest.raises(SystemExit, match="wanted 60"):
        choose(table, 60)


def test_the_entropy_is_that_of_the_targets_that_the_loss_sees(some: tuple[UnifiedModel, Batch]) -> None:
    batch = some[1].rows(0, 2)
    batch.targets["emotion"][:] = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0, 0, 0]])
    found = entropies(batch)
    assert found["heads.emotion"] == found["kalman_filter"] == pytest.approx(math.log(2) / 2)
    assert found["heads.surd"] == 0.0
    batch.targets["emotion"][:] = torch.tensor([1.0, 0, 0, 0, 0, 0, 0])
    one, others = 0.93 + 0.01, 0.01
    wanted = -one * math.log(one) - 6 * others * math.log(others)
    assert entropies(batch, 0.07)["heads.emotion"] == pytest.approx(wanted)

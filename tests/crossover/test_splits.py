"""Which split decides what: choose picks the ingredients, judge the winner, test nothing; and a stop in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redheart.batches.trained_on import save_trained_on
from redheart.config import Config, CrossoverConfig, ReportConfig
from redheart.crossover import controls, evaluation, load_result, material, run_crossover
from redheart.crossover import crossover as stage
from redheart.crossover.controls import best_epoch
from redheart.crossover.strategies import EpochFiles, uniform
from redheart.data.splits import split_of
from redheart.errors import Interrupted
from redheart.messages import set_language
from redheart.model.losses import served_loss
from tests.crossover.small_run import RUN, SmallRun, analysis_of, mixed, small_table, story

CONFIG = Config(crossover=CrossoverConfig(random_controls=1), report=ReportConfig(bootstrap_samples=200))


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    set_language("en")
    yield
    set_language("ko")


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the stage does, in order: the split of each evaluation, and the decisions; nothing is replaced."""
    order: list[str] = []

    def spy(module: Any, name: str, said: Any) -> None:
        real = getattr(module, name)

        def told(*args: Any, **values: Any) -> Any:
            order.append(said(*args))
            result = real(*args, **values)
            if name == "greedy_soup":
                order.append("soup chosen")
            return result

        monkeypatch.setattr(module, name, told)

    spy(evaluation, "evaluate_model", lambda model, table, split: split)
    spy(material, "greedy_soup", lambda *_: "soup")
    spy(controls, "best_epoch", lambda *_: "best epoch")
    spy(stage, "decide", lambda *_: "winner fixed")
    return order


def test_ingredients_are_chosen_on_choose_the_winner_on_judge_and_test_is_read_afterwards(
    run: SmallRun, happened: list[str]
) -> None:
    run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)
    soup, chosen, fixed = happened.index("soup"), happened.index("soup chosen"), happened.index("winner fixed")
    assert soup < chosen < fixed
    tried = happened[soup + 1 : chosen]
    assert len(tried) == CONFIG.crossover.average_last and set(tried) == {"choose"}
    assert set(happened[chosen + 1 : fixed]) == {"best epoch", "judge"}
    assert happened[fixed + 1 :].count("test") == happened[:fixed].count("judge") > 4
    assert set(happened[fixed + 1 :]) == {"test"} and "test" not in happened[:fixed]


def test_a_table_without_its_test_split_gets_as_far_as_the_winner(run: SmallRun, happened: list[str]) -> None:
    indices = dict(run.table.split_indices)
    try:
        del run.table.split_indices["test"]
        with pytest.raises(KeyError, match="test"):
            run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)
    finally:
        run.table.split_indices.update(indices)
    assert "winner fixed" in happened


def test_texts_that_trained_or_chose_and_were_edited_since_neither_decide_nor_are_reported_on(
    run: SmallRun, tmp_path: Path
) -> None:
    """They are told of, and every number is what it is without them."""
    analysis = analysis_of(mixed(6), epochs=6)
    whole = run_crossover(CONFIG, run.output, analysis, run.table)
    save_trained_on(run.output, RUN, run.table)
    texts = {}
    for then, now, chosen in (
        ("train", "judge", slice(3)),
        ("choose", "test", slice(2)),
        ("train", "test", slice(3, 4)),
    ):
        for index in run.table.split_indices[then][chosen]:
            edits = (f"{story(index)} Edit {number}: typo." for number in range(1000))
            texts[f"s{index}"] = next(text for text in edits if split_of(text) == now)
    edited = small_table(tmp_path, texts=texts)
    assert edited.counts["judge"] == run.table.counts["judge"] + 3
    found = run_crossover(CONFIG, run.output, analysis, edited)
    assert found.left_out == {"judge": 3, "test": 3} and load_result(run.output) == found
    for name in ("last", "best_epoch", "average", "crossover"):
        for split in ("judge", "test"):
            assert found[name].scores[split].loss == whole[name].scores[split].loss
    told = json.loads((run.output / "crossover" / "candidates.json").read_text())["explanation"][-1]
    assert told == "Left out, because the run was made with them before their texts were edited: judge 3, test 3."


def test_the_best_single_epoch_is_that_of_the_recorded_served_loss_on_choose(run: SmallRun) -> None:
    metrics = run.output / "metrics.jsonl"
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    for record in records[1:]:  # the total says epoch 2, the served loss epoch 4
        record["choose"]["loss"] = 0.1 if record["epoch"] == 2 else 5.0
        for term in record["choose"]["terms"]:
            record["choose"]["terms"][term] = 0.01 if record["epoch"] == 4 else 0.02
    metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    losses = stage.recorded_choose_loss(metrics, EpochFiles(run.output).epochs)
    assert losses == {r["epoch"]: pytest.approx(served_loss(r["choose"]["terms"])) for r in records[1:]}
    assert best_epoch(losses) == uniform("best_epoch", [4])
    result = run_crossover(CONFIG, run.output, analysis_of(mixed(6), epochs=6), run.table)
    assert result["best_epoch"].epochs["backbone"] == [4]


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_stop_between_evaluations_leaves_everything_as_it_was(run: SmallRun, happened: list[str]) -> None:
    before = _tree(run.output)
    for wanted in ("choose", "judge", "test"):  # one of each kind of evaluation is the last
        happened.clear()
        with pytest.raises(Interrupted, match="same command"):
            run_crossover(
                CONFIG,
                run.output,
                analysis_of(mixed(6), epochs=6),
                run.table,
                should_stop=lambda wanted=wanted: happened.count(wanted) >= 2,  # type: ignore[misc]
            )
        assert happened.count(wanted) == 2 and _tree(run.output) == before


def test_a_stop_at_any_moment_leaves_everything_as_it_was(run: SmallRun) -> None:
    before = _tree(run.output)
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return False

    analysis = analysis_of(mixed(6), epochs=6)
    run_crossover(CONFIG, run.output, analysis, run.table, should_stop=count)
    finished = _tree(run.output)
    assert finished != before
    for moment in (1, 2, asked // 2, asked - 1, asked):
        left = moment

        def stop() -> bool:
            nonlocal left
            left -= 1
            return left <= 0

        with pytest.raises(Interrupted):
            run_crossover(CONFIG, run.output, analysis, run.table, should_stop=stop)
        assert _tree(run.output) == finished

"""What a run was trained on is known again after its texts were edited, and is not judged on."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest

from redheart.batches import trained_on
from redheart.batches.table import SituationTable
from redheart.batches.trained_on import (
    Judged,
    Settings,
    find_sources,
    find_trained_on,
    leave_out_sources,
    leave_out_trained,
    save_trained_on,
    with_texts,
)
from redheart.data.splits import SPLITS, split_of
from redheart.errors import DataError, StorageError
from redheart.facts.model import ModelFacts
from redheart.paths import OutputPaths
from redheart.storage import fingerprint, read_json, write_json
from tests.crossover import small_run
from tests.crossover.small_run import story
from tests.training.small_data import embedded_items, write_embedded

COUNT = 120


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the warnings."""
    found: list[str] = []
    monkeypatch.setattr(trained_on, "warn", lambda key, **_: found.append(key))
    return found


def small_table(folder: Path, texts: dict[str, str] | None = None, count: int = COUNT) -> SituationTable:
    return small_run.small_table(folder, count, texts=texts)


@pytest.fixture
def table(tmp_path: Path) -> SituationTable:
    """What was trained on, with its record."""
    made = small_table(tmp_path)
    save_trained_on(tmp_path, "r", made)
    return made


def model_of(table: SituationTable, run: str | None = "r") -> ModelFacts:
    return ModelFacts(run=run, dataset=table.identity)


def edited(index: int, split: str) -> str:
    """The text with an edit that puts it into ``split``."""
    return next(text for n in range(1000) if split_of(text := f"{story(index)} Edit {n}: typo.") == split)


def judged(folder: Path, table: SituationTable, texts: dict[str, str], splits: tuple = ("judge", "test")) -> Judged:
    return leave_out_trained(small_table(folder, texts), model_of(table), [folder], splits)


def ids_in(table: SituationTable, split: str) -> set[str]:
    return {table.ids[index] for index in table.split_indices[split]}


def test_the_record_holds_every_situation_once_by_split_id_and_text(tmp_path: Path, table: SituationTable) -> None:
    record = find_trained_on("r", [tmp_path / "nothing here", tmp_path])
    assert record is not None and record.dataset == table.identity
    assert {split: set(texts) for split, texts in record.splits.items()} == {s: ids_in(table, s) for s in SPLITS}
    assert len({text for texts in record.splits.values() for text in texts.values()}) == COUNT
    assert find_trained_on("another run", [tmp_path]) is None and find_trained_on(None, [tmp_path]) is None


@pytest.mark.parametrize(
    "then, now, is_out",
    [
        ("train", "judge", True),
        ("train", "test", True),
        ("choose", "judge", True),
        ("judge", "test", True),
        ("judge", "train", False),
        ("test", "judge", False),
        ("judge", "judge", False),
    ],
)
def test_a_situation_that_made_the_model_is_left_out_wherever_its_edit_put_it(
    tmp_path: Path, table: SituationTable, said: list[str], then: str, now: str, is_out: bool
) -> None:
    index = int(table.split_indices[then][0])
    found = judged(tmp_path, table, {f"s{index}": edited(index, now)})
    whole = small_table(tmp_path, {f"s{index}": edited(index, now)})
    assert f"s{index}" in ids_in(whole, now)
    assert (f"s{index}" not in ids_in(found.table, now)) is is_out
    assert found.left_out == ({now: 1} if is_out else {})
    assert said == (["data.trained_on_left_out"] if is_out else [])
    for split in SPLITS:
        assert ids_in(whole, split) - ids_in(found.table, split) == (
            {f"s{index}"} if is_out and split == now else set()
        )


def test_a_split_that_is_not_judged_is_left_as_it_is(tmp_path: Path, table: SituationTable) -> None:
    index = int(table.split_indices["train"][0])
    found = judged(tmp_path, table, {f"s{index}": edited(index, "judge")}, splits=("test",))
    assert f"s{index}" in ids_in(found.table, "judge") and found.left_out == {}


def test_ids_that_moved_on_by_a_row_leave_out_nothing(tmp_path: Path, table: SituationTable, said: list[str]) -> None:
    """Every text is known, under another id: no one was edited."""
    moved = {f"s{index}": story((index + 1) % COUNT) for index in range(COUNT)}
    found = judged(tmp_path, table, moved)
    assert found.table.dataset.texts_identity != table.dataset.texts_identity and found.left_out == {} and said == []


def renamed(table: SituationTable, names: dict[str, str]) -> SituationTable:
    """The table with other ids; nothing but the ids is looked at."""
    facts = dataclasses.replace(table.dataset.facts, ids=[names.get(name, name) for name in table.ids])
    made = copy.copy(table)
    made.dataset = copy.copy(table.dataset)
    made.dataset.facts, made.ids = facts, facts.ids
    return made


@pytest.mark.parametrize("ids", ["another id", "every id moved on by a row"])
def test_a_training_text_that_was_edited_under_another_id_is_warned_of(
    tmp_path: Path, table: SituationTable, said: list[str], ids: str
) -> None:
    """Nothing tells it from a new situation in the place of one that was taken out."""
    later = {*table.split_indices["judge"], *table.split_indices["test"]}
    index = next(int(one) for one in table.split_indices["train"] if one + 1 in later)
    other = small_table(tmp_path, {f"s{index}": edited(index, "judge")})
    names = {f"s{number}": f"s{(number + 1) % COUNT}" for number in range(COUNT)}
    if ids == "another id":
        names = {f"s{index}": "a hash of the text"}
    found = leave_out_trained(renamed(other, names), model_of(table), [tmp_path], ("judge",))
    assert found.left_out == {} and said == ["data.trained_on_replaced"]


@pytest.mark.parametrize("count", [COUNT - 1, COUNT + 30])
def test_fewer_or_more_situations_are_no_edits(
    tmp_path: Path, table: SituationTable, said: list[str], count: int
) -> None:
    leave_out_trained(small_table(tmp_path, count=count), model_of(table), [tmp_path], ("judge", "test"))
    assert said == []


def test_all_other_data_are_no_edition_of_what_was_trained_on(
    tmp_path: Path, table: SituationTable, said: list[str]
) -> None:
    other = small_run.small_table(tmp_path, COUNT, seed=1)
    other = renamed(other, {name: f"other {name}" for name in other.ids})
    assert leave_out_trained(other, model_of(table), [tmp_path], ("judge",)).left_out == {} and said == []


def test_new_situations_are_judged_without_a_word(tmp_path: Path, table: SituationTable, said: list[str]) -> None:
    more = small_table(tmp_path, count=COUNT + 30)
    found = leave_out_trained(more, model_of(table), [tmp_path], ("judge", "test"))
    assert found.table is more and said == []


def test_the_data_that_trained_the_model_need_no_record(table: SituationTable, said: list[str]) -> None:
    assert leave_out_trained(table, model_of(table, "without a record"), [], ("judge",)).table is table and said == []


def test_without_a_record_other_data_are_judged_with_a_warning(
    tmp_path: Path, table: SituationTable, said: list[str]
) -> None:
    other = small_table(tmp_path, count=COUNT + 1)
    for model, outputs in ((model_of(table, "older"), [tmp_path]), (model_of(table), [tmp_path / "elsewhere"])):
        assert leave_out_trained(other, model, outputs, ("judge",)).table is other
    assert said == ["data.trained_on_unknown"] * 2


def test_without_a_record_vectors_that_don_t_tell_their_texts_are_judged_with_a_warning(
    tmp_path: Path, said: list[str]
) -> None:
    """Their identity stays the same whatever becomes of the texts."""
    brought = SituationTable.open(write_embedded(tmp_path))
    assert leave_out_trained(brought, model_of(brought, "older"), [tmp_path], ("judge",)).table is brought
    assert said == ["data.trained_on_unknown"]


def test_a_runs_identity_is_told_apart_by_texts_that_the_datas_identity_misses(tmp_path: Path) -> None:
    items = embedded_items()
    table = SituationTable.open(write_embedded(tmp_path, items))
    settings: Settings = {"dataset": table.identity}
    assert with_texts(settings, tmp_path, table) is settings, "there is no run"
    save_trained_on(tmp_path, fingerprint(settings), table)
    assert with_texts(settings, tmp_path, table) is settings, "it is the same"
    items[0]["text"] += " Edit: typo."
    other = SituationTable.open(write_embedded(tmp_path, items))
    assert other.identity == table.identity
    told = with_texts(settings, tmp_path, other)
    assert told != settings
    save_trained_on(tmp_path, fingerprint(told), other)
    assert with_texts(settings, tmp_path, other) == told, "it was trained, and is the same again"
    assert with_texts(settings, tmp_path, table) == settings, "the first run is there no more"
    assert with_texts({"dataset": "another"}, tmp_path, other) == {"dataset": "another"}


def test_where_nothing_is_left_to_judge_on_it_says_so(tmp_path: Path, table: SituationTable) -> None:
    """All that is in judge was trained on."""
    texts = {f"s{index}": edited(index, "train") for index in table.split_indices["judge"]}
    for index in table.split_indices["train"][:5]:
        texts[f"s{index}"] = edited(int(index), "judge")
    with pytest.raises(DataError, match=r"split judge: found 0 situations.* beside 5 that the model was made with"):
        judged(tmp_path, table, texts)


def test_a_damaged_record_is_named_with_what_to_do(tmp_path: Path, table: SituationTable) -> None:
    path = OutputPaths(tmp_path).trained_on
    write_json(path, {**read_json(path), "splits": 3})
    with pytest.raises(StorageError, match=r"trained_on\.json: splits: found 3.*remove it"):
        judged(tmp_path, table, {"s1": "another story"})


def test_what_trained_the_weights_that_a_run_began_with_is_left_out_too(
    table: SituationTable, tmp_path: Path, said: list[str]
) -> None:
    """By any run in the chain: the record travels with each."""
    sources = find_sources("r", [tmp_path])
    assert sources is not None and [one.run for one in sources] == ["r"]
    trained = table.split_indices["train"][:3]
    texts = {f"s{index}": edited(int(index), "judge") for index in trained}
    other = small_table(tmp_path, texts)
    found = leave_out_sources(other, sources, SPLITS[1:])
    assert found.left_out == {"judge": 3} and said == ["data.source_left_out"]
    assert not set(found.table.split_indices["judge"]) & set(trained)
    second, third = tmp_path / "second", tmp_path / "third"
    save_trained_on(second, "second", other, sources)
    chain = find_sources("second", [second])
    assert chain is not None and [one.run for one in chain] == ["second", "r"]
    save_trained_on(third, "third", other, chain)
    again = leave_out_trained(other, ModelFacts(run="third", dataset=other.identity), [third], ("judge", "test"))
    assert again.left_out == {"judge": 3} and again.table.counts == found.table.counts


def test_ids_of_other_data_that_happen_to_be_the_same_leave_nothing_out(
    table: SituationTable, tmp_path: Path, said: list[str]
) -> None:
    sources = find_sources("r", [tmp_path])
    assert sources is not None
    other = small_run.small_table(tmp_path, COUNT, seed=1)  # the same ids, every text another
    assert leave_out_sources(other, sources, SPLITS[1:]).left_out == {} and said == []


def test_without_a_record_nothing_is_known_of_a_source(tmp_path: Path) -> None:
    assert find_sources("r", [tmp_path]) is None and find_sources(None, [tmp_path]) is None


def test_where_all_that_would_be_judged_trained_the_source_other_weights_are_advised(
    table: SituationTable, tmp_path: Path
) -> None:
    sources = find_sources("r", [tmp_path])
    assert sources is not None
    texts = {f"s{index}": edited(int(index), "judge") for index in table.split_indices["train"]}
    texts |= {f"s{index}": edited(int(index), "train") for index in table.split_indices["judge"]}
    with pytest.raises(DataError, match=r"begin with other weights \(training\.init_from\)"):
        leave_out_sources(small_table(tmp_path, texts), sources, ("judge",))

"""The store: nothing is lost, the first result of a point stays, and the fold can always be made again."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import threading
import time
from pathlib import Path

import msgspec
import pytest

from redheart.errors import StorageError
from redheart.messages import set_language
from redheart.sweep import rebuild
from redheart.sweep.learning_rate_keys import key_of
from redheart.sweep.store import CumulativeStore, fold_entries
from redheart.sweep.trials import Trial, TrialFolder

_spawn = multiprocessing.get_context("spawn")


def trial(rate, loss=0.5, *, sweep="a-1", seed=0, stage=0, timestamp="2026-01-01T00:00:00", after=None):
    return Trial(
        learning_rate=rate, val_loss=loss, train_loss=0.4, accuracy=0.3, timestamp=timestamp,
        stage=stage, sweep=sweep, seed=seed, diverged=loss is None, published_after=after,
    )  # fmt: skip


def _publish_twenty(results: Path, worker: int) -> None:
    store = CumulativeStore(results)
    for number in range(20):
        rate = 1e-5 * 1.02 ** (worker * 20 + number)
        store.trials.publish(f"w{worker}_{number}", trial(rate))
        store.trials.publish("contested", trial(1.0, loss=float(worker)))
        store.refold()


def test_eight_processes_publishing_twenty_trials_each_lose_nothing_and_the_file_is_valid_all_the_time(tmp_path):
    processes = [_spawn.Process(target=_publish_twenty, args=(tmp_path, worker)) for worker in range(8)]
    for process in processes:
        process.start()
    sizes = []
    path = tmp_path / "lr_sweep_cumulative.json"
    while any(process.is_alive() for process in processes):
        if path.exists():
            sizes.append(len(json.loads(path.read_text())))
        time.sleep(0.005)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    entries = json.loads(path.read_text())
    assert len(entries) == 161
    assert sum(len(entry["runs"]) for entry in entries.values()) == 161
    assert sizes == sorted(sizes), "an older fold replaced a newer one"
    assert not [name for name in os.listdir(tmp_path / "trials") if name.endswith(".tmp")]


def test_the_first_to_publish_a_point_wins(tmp_path):
    folder = TrialFolder(tmp_path)
    assert folder.publish("p", trial(1e-4, 0.1)) is True
    assert folder.publish("p", trial(1e-4, 0.2)) is False
    assert TrialFolder(tmp_path).read("p").val_loss == 0.1


def test_of_many_publishing_the_same_point_at_once_exactly_one_wins(tmp_path):
    folder = TrialFolder(tmp_path)
    wins: list[int] = []
    gate = threading.Barrier(8)

    def publish(number):
        gate.wait()
        if folder.publish("p", trial(1e-4, float(number))):
            wins.append(number)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert TrialFolder(tmp_path).read("p").val_loss == float(wins[0])


def test_a_trial_published_while_the_fold_is_being_written_is_in_the_fold(tmp_path, monkeypatch):
    """The lock is not what this rests on: here the other one publishes without it, after the listing."""
    store = CumulativeStore(tmp_path)
    store.trials.publish("one", trial(1e-4))
    from redheart.sweep import store as module

    real_write = module.write_text
    calls = []

    def write_then_publish(path, content):
        real_write(path, content)
        if not calls:
            TrialFolder(tmp_path).publish("late", trial(2e-4))
        calls.append(path)

    monkeypatch.setattr(module, "write_text", write_then_publish)
    store.refold()
    assert set(json.loads(store.path.read_text())) == {"0.0001", "0.0002"}


def test_a_torn_trial_file_is_named_and_nothing_is_overwritten(tmp_path):
    store = CumulativeStore(tmp_path)
    store.trials.publish("good", trial(1e-4))
    store.refold()
    before = store.path.read_bytes()
    (tmp_path / "trials" / "torn.json").write_text('{"learning_rate": 1e-')
    with pytest.raises(StorageError, match=r"torn\.json.*move the file away"):
        CumulativeStore(tmp_path).refold()
    assert store.path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        rb'{"learning_rate": 1e-4, "val_loss": 0.5, "note": "\ud800"}',
        rb'{"learning_rate": 1e-4, "\uDFFF": 1}',
        rb'{"learning_rate": 1e-4, "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"learning_rate": 1' + b"0" * 5000 + b"}",
    ],
    ids=["half a pair", "half a pair as a name", "too deep", "too long"],
)
def test_what_could_not_be_written_again_is_a_damaged_trial_and_in_the_cumulative_file_set_aside(tmp_path, content):
    store = CumulativeStore(tmp_path)
    store.trials.publish("good", trial(1e-4))
    store.refold()
    before = store.path.read_bytes()
    (tmp_path / "trials" / "odd.json").write_bytes(content)
    with pytest.raises(StorageError, match=r"odd\.json: damaged.*move the file away"):
        CumulativeStore(tmp_path).refold()
    assert store.path.read_bytes() == before
    (tmp_path / "trials" / "odd.json").unlink()
    store.path.write_bytes(b'{"0.0001": ' + content + b"}")
    CumulativeStore(tmp_path).refold()
    assert store.path.read_bytes() == before and list(tmp_path.glob("*.damaged_*"))


def test_a_pair_that_is_whole_is_a_letter(tmp_path):
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "odd.json").write_bytes(rb'{"learning_rate": 1e-4, "val_loss": 1, "note": "\ud83d\ude00"}')
    CumulativeStore(tmp_path).refold()
    assert "😀" in (tmp_path / "lr_sweep_cumulative.json").read_text()


def test_a_trial_file_whose_name_is_not_utf8_is_named(tmp_path):
    (tmp_path / "trials").mkdir()
    with open(os.fsencode(tmp_path / "trials") + b"/caf\xe9.json", "wb") as odd:
        odd.write(b'{"learning_rate": 1e-4}')
    with pytest.raises(StorageError, match=r"a name that is not UTF-8.*move the file away") as told:
        CumulativeStore(tmp_path).refold()
    str(told.value).encode()


def test_a_lost_trial_file_comes_back_from_the_cumulative_file(tmp_path):
    store = CumulativeStore(tmp_path)
    store.trials.publish("one", trial(1e-4, 0.25))
    store.refold()
    original = (tmp_path / "trials" / "one.json").read_text()
    (tmp_path / "trials" / "one.json").unlink()
    assert CumulativeStore(tmp_path).refold().imported == 1
    assert json.loads((tmp_path / "trials" / "one.json").read_text()) == json.loads(original)


def test_a_run_whose_name_is_a_path_is_not_written_anywhere(tmp_path):
    entry = {"val_loss": 1, "runs": [{"trial": "../../evil", "learning_rate": 1e-4}]}
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "lr_sweep_cumulative.json").write_text(json.dumps({"0.0001": entry}))
    CumulativeStore(tmp_path / "r").refold()
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize(
    "content", [b"", b'{"1e-05": {"val_', b"[]", b'{"best": {}}', b'{"-1": {}}', b'{"1e-05": 3}', b"\xff"]
)
def test_a_damaged_cumulative_file_is_kept_aside_and_rebuilt_from_the_trials(tmp_path, content, caplog):
    store = CumulativeStore(tmp_path)
    store.trials.publish("one", trial(1e-4))
    store.path.write_bytes(content)
    set_language("en")
    logger = logging.getLogger("redheart")
    logger.propagate, before = True, logger.propagate
    try:
        store.refold()
    finally:
        set_language("ko")
        logger.propagate = before
    assert set(json.loads(store.path.read_text())) == {"0.0001"}
    (aside,) = tmp_path.glob("lr_sweep_cumulative.damaged_*.json")
    assert aside.read_bytes() == content
    assert aside.name in caplog.text and "damaged" in caplog.text


def test_the_original_runs_file_is_imported_once_and_keeps_its_keys(tmp_path, real_data):
    shutil.copyfile(real_data / "original_run" / "lr_sweep_cumulative.json", tmp_path / "lr_sweep_cumulative.json")
    before = json.loads((tmp_path / "lr_sweep_cumulative.json").read_text())
    store = CumulativeStore(tmp_path)
    assert store.refold().imported == 25
    assert store.refold().imported == 0
    after = json.loads(store.path.read_text())
    assert set(after) == set(before)
    for key, entry in before.items():
        assert {name: after[key][name] for name in entry} == entry
        assert len(after[key]["runs"]) == 1
    store.path.unlink()
    entries = CumulativeStore(tmp_path).refold().entries
    assert json.loads(msgspec.json.encode(entries)) == after, "the imported records are part of the truth"


def test_the_first_five_fields_summarise_the_runs_of_the_last_sweep():
    entries = fold_entries({
        "old": trial(1e-4, 9.0, sweep="a-1", timestamp="2025-01-01"),
        "new0": trial(1e-4, 0.2, sweep="b-1", stage=2, timestamp="2026-01-01"),
        "new1": trial(1e-4, 0.4, sweep="b-1", stage=3, seed=1, timestamp="2026-01-02"),
        "bad": trial(1e-3, None),
    })  # fmt: skip
    entry = entries["0.0001"]
    assert list(msgspec.to_builtins(entry))[:5] == ["val_loss", "train_loss", "accuracy", "timestamp", "stage"]
    assert entry.val_loss == pytest.approx(0.3)
    assert (entry.timestamp, entry.stage, len(entry.runs)) == ("2026-01-02", 3, 3)
    assert entries["0.001"].val_loss is None and entries["0.001"].diverged is True


def test_an_older_record_with_nan_becomes_a_diverged_trial(tmp_path):
    (tmp_path / "lr_sweep_cumulative.json").write_text('{"0.1": {"val_loss": NaN, "train_loss": 3.0, "stage": 0}}')
    entries = CumulativeStore(tmp_path).refold().entries
    assert entries["0.1"].val_loss is None and entries["0.1"].diverged
    json.loads((tmp_path / "lr_sweep_cumulative.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_rebuild_makes_the_file_again_byte_for_byte(tmp_path):
    store = CumulativeStore(tmp_path / "lr_sweep_results")
    for number in range(5):
        store.trials.publish(f"t{number}", trial(1e-4 * (number + 1)))
    store.refold()
    content = store.path.read_bytes()
    store.path.unlink()
    assert rebuild(tmp_path) == 5
    assert store.path.read_bytes() == content


def test_a_key_reads_back_as_the_same_learning_rate():
    for rate in (5.6e-5, 1e-5, 0.01, 6.16e-5, 1.5383211346269175e-05):
        assert float(key_of(rate)) == rate


def test_the_newer_sweep_is_the_one_that_came_later_whatever_the_clock_said(tmp_path):
    """A clock that was set back: the second sweep's trials carry earlier times than the first one's."""
    store = CumulativeStore(tmp_path)
    store.trials.publish("a-1_0", trial(1e-4, 9.0, sweep="a-1", timestamp="2026-06-01", after=0))
    store.trials.publish("a-1_1", trial(2e-4, 9.0, sweep="a-1", timestamp="2026-06-02", after=1))
    store.trials.publish("b-1_0", trial(1e-4, 0.5, sweep="b-1", stage=3, timestamp="2026-01-01", after=2))
    entry = store.refold().entries["0.0001"]
    assert (entry.val_loss, entry.timestamp, entry.stage) == (0.5, "2026-01-01", 3)
    assert [run["trial"] for run in entry.runs] == ["a-1_0", "b-1_0"]
    (tmp_path / "trials" / "b-1_0.json").unlink()
    assert CumulativeStore(tmp_path).refold().entries["0.0001"].val_loss == 0.5, "what comes back keeps its place"


def test_trials_of_before_are_older_than_those_that_tell_what_was_there_and_ordered_by_their_clocks(tmp_path):
    folder = tmp_path / "trials"
    folder.mkdir()
    for name, timestamp, loss in (("x", "2027-01-02", 3.0), ("y", "2027-01-01", 2.0)):
        record = trial(1e-4, loss, sweep=name, timestamp=timestamp).record
        (folder / f"{name}.json").write_text(json.dumps(record))
    assert CumulativeStore(tmp_path).refold().entries["0.0001"].val_loss == 3.0
    CumulativeStore(tmp_path).trials.publish("z", trial(1e-4, 1.0, sweep="z", timestamp="2026-01-01", after=2))
    entry = CumulativeStore(tmp_path).refold().entries["0.0001"]
    assert entry.val_loss == 1.0 and [run["trial"] for run in entry.runs] == ["y", "x", "z"]


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("timestamp", 5, "timestamp: 5"),
        ("timestamp", [2026], "timestamp: [2026]"),
        ("stage", "first", "stage: 'first'"),
        ("val_loss", "0.5", "val_loss: '0.5'"),
        ("curve", "falling", "curve: 'falling'"),
    ],
)
def test_a_field_of_another_kind_counts_as_absent_and_is_said_once(tmp_path, monkeypatch, field, value, shown):
    said = []
    monkeypatch.setattr("redheart.sweep.store.warn", lambda key, **values: said.append((key, values)))
    store = CumulativeStore(tmp_path)
    store.trials.publish("good", trial(1e-4, 0.5))
    record = {**trial(1e-4, 0.5).record, field: value}
    path = tmp_path / "trials" / "odd.json"
    path.write_text(json.dumps(record))
    for _ in range(2):
        entry = store.refold().entries["0.0001"]
    assert (entry.val_loss, len(entry.runs)) == (None if field == "val_loss" else 0.5, 2)
    assert said == [("sweep.unfit_fields", {"path": path, "found": shown, "count": 1})]
    kept = {run["trial"]: run for run in json.loads(store.path.read_text())["0.0001"]["runs"]}
    assert kept["odd"][field] == value, "what is there is kept"


@pytest.mark.parametrize(
    "content", ['{"val_loss": NaN}', '{"extra": {"x": [Infinity, 1]}}', f'{{"val_loss": 1{"0" * 400}}}']
)
def test_a_number_that_json_or_a_float_does_not_hold_breaks_nothing(tmp_path, content):
    (tmp_path / "trials").mkdir()
    record = {**trial(1e-4, 0.5).record, **json.loads(content)}
    (tmp_path / "trials" / "odd.json").write_text(json.dumps(record))
    (tmp_path / "lr_sweep_cumulative.json").write_text(
        json.dumps({"0.0002": json.loads(content), "0.0003": {"runs": [{**record, "trial": "back"}]}})
    )
    store = CumulativeStore(tmp_path)
    assert store.refold().imported == 2 and len(store.history()) == 3
    json.loads(store.path.read_text(), parse_constant=lambda name: pytest.fail(name))


def test_an_entry_of_an_older_implementation_becomes_a_trial_that_says_so(tmp_path):
    (tmp_path / "lr_sweep_cumulative.json").write_text(json.dumps({"0.001": {"val_loss": 0.5, "epochs": 3}}))
    store = CumulativeStore(tmp_path)
    assert store.refold().imported == 1
    (trial,) = (tmp_path / "trials").glob("imported_*.json")
    record = json.loads(trial.read_text())
    assert record["imported"] is True and record["diverged"] is False and record["learning_rate"] == 0.001

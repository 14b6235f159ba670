"""The model before its first step, kept and scored: what training began with is not taken for what training did."""

from __future__ import annotations

import pytest

from redheart.checkpoint import find_start, list_epochs, load_modules
from redheart.checkpoint.restore import restore_model
from redheart.errors import Interrupted
from redheart.evaluation.evaluate import evaluate_model
from redheart.storage import read_json, read_lines
from redheart.training.callbacks.start import StartCheckpoint
from redheart.training.loop import TrainingLoop
from tests.training.runs import make_loop, metrics, same_bits, state_of, train, weights

LINE = "출발점 (닫힌 해, 학습 전): 검증 "


@pytest.fixture
def config(settings):
    return settings(epochs=2, global_batch_size=8, dropout=0.2, ema_decay=0.9, monitor_every=4)


def test_the_start_is_the_untouched_model_scored_as_an_epoch_is(dataset, table, config, tmp_path, logged) -> None:
    train(dataset, tmp_path / "out", config)
    start = find_start(tmp_path / "out")
    assert start is not None and (start.manifest.epoch, start.manifest.global_step) == (0, 0)
    (epoch, _) = list_epochs(tmp_path / "out", verify=True)
    kept, other = (read_json(one.path / "manifest.json") for one in (start, epoch))
    assert kept.keys() == other.keys()
    assert same_bits(load_modules(start.path), state_of(make_loop(config, table)))
    (record, *_) = read_lines(tmp_path / "out" / "metrics.jsonl")
    scored = evaluate_model(restore_model(start.path), table, "choose", with_items=False)
    assert record["kind"] == "run" and record["checkpoint"] == "checkpoints/start"
    assert record["choose"]["loss"] == pytest.approx(scored.loss, rel=1e-6)
    assert record["choose"] == kept["metrics"]["choose"]
    assert logged().count(f"{LINE}{scored.loss:.4f} ({scored.count}개), skill {scored.mean_skill:+.3f}") == 1


def test_it_changes_no_bit_of_what_follows(dataset, config, tmp_path, monkeypatch) -> None:
    """Neither dropout, nor the order of the data, nor the average of the weights."""
    train(dataset, tmp_path / "with", config)
    monkeypatch.setattr(StartCheckpoint, "before_run", lambda *_: None)
    train(dataset, tmp_path / "without", config)
    assert find_start(tmp_path / "without") is None
    assert metrics(tmp_path / "with") == metrics(tmp_path / "without")
    for epoch in (1, 2):
        assert same_bits(weights(tmp_path / "with", epoch), weights(tmp_path / "without", epoch))


@pytest.mark.parametrize("off", [{"linear_start": False}, {"no_param_update": True}])
def test_where_it_is_off_and_in_a_dry_run_there_is_none(dataset, settings, tmp_path, logged, off) -> None:
    train(dataset, tmp_path / "out", settings(epochs=1, **off))
    assert find_start(tmp_path / "out") is None and LINE not in logged()
    assert not {"choose", "checkpoint"} & read_lines(tmp_path / "out" / "metrics.jsonl")[0].keys()


def test_a_run_killed_before_its_first_state_starts_again_with_the_same_bits(
    dataset, config, tmp_path, monkeypatch, logged
) -> None:
    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    train(dataset, tmp_path / "whole", config)
    with pytest.raises(Interrupted, match="before the first step"):
        train(dataset, tmp_path / "cut", config, should_stop=lambda: True)
    assert find_start(tmp_path / "cut") is None
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrainingLoop, "epoch", die)
        train(dataset, tmp_path / "cut", config)
    left = find_start(tmp_path / "cut")
    train(dataset, tmp_path / "cut", config)
    starts = [find_start(tmp_path / "cut"), find_start(tmp_path / "whole"), left]
    assert len({str(one.manifest.files) for one in starts}) == 1
    kinds = [line["kind"] for line in read_lines(tmp_path / "cut" / "metrics.jsonl")]
    assert kinds == ["run", "epoch", "epoch"] and not (tmp_path / "cut" / "previous").exists()
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
    assert same_bits(weights(tmp_path / "cut"), weights(tmp_path / "whole"))

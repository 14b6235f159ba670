"""Stopped anywhere and started again, a run ends with the same bits; and nobody's files are lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from redheart.checkpoint import list_epochs
from redheart.engine.factory import make_engine
from redheart.errors import Interrupted, TrainingError
from redheart.messages import set_up_logging
from redheart.storage import read_json, read_lines
from redheart.storage.seal import write_sealed
from redheart.training.callbacks.start import StartCheckpoint
from redheart.training.loop import TrainingLoop
from redheart.training.trainer import Trainer
from tests.in_this_process import redheart
from tests.training.operands import only_aligned_operands
from tests.training.runs import metrics, same_bits, train, weights
from tests.training.test_loop import spoil

PROJECT = Path(__file__).resolve().parents[2]


class StopAt:
    """Asks for a stop the n-th time it is asked."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self) -> bool:
        self.number -= 1
        return self.number <= 0


@pytest.fixture(scope="module")
def uninterrupted(dataset, tmp_path_factory):
    """A run of two epochs with dropout, and with update checks that do not meet the place of the stop."""
    output = tmp_path_factory.mktemp("uninterrupted")
    train(dataset, output, config())
    return output


def config(**training):
    from redheart.config import load_config

    chosen = {"epochs": 2, "global_batch_size": 8, "monitor_every": 4, "save_every_minutes": 0, **training}
    return load_config(
        None, [*((f"training.{k}", v) for k, v in chosen.items()), "model.preset=tiny", "model.dropout=0.2"]
    )


def assert_same_run(output: Path, expected: Path) -> None:
    assert metrics(output) == metrics(expected), "every number that no clock decides"
    for epoch in (1, 2):
        assert same_bits(weights(output, epoch), weights(expected, epoch))


# Asked before the start's one batch of evaluation; then after each of an epoch's six steps but the last, before its one
# batch of evaluation, and at its end.
@pytest.mark.parametrize(
    "asked, epoch, batches",
    [(1 + 3, 1, 3), (1 + 6, 1, 6), (1 + 7, 2, 0), (1 + 7 + 6, 2, 6)],
    ids=["mid-epoch", "in evaluation", "between epochs", "in the last evaluation"],
)
def test_a_stopped_run_goes_on_to_the_same_bits(dataset, tmp_path, uninterrupted, logged, asked, epoch, batches):
    with pytest.raises(Interrupted) as stopped:
        train(dataset, tmp_path / "out", config(), should_stop=StopAt(asked))
    assert stopped.value.exit_code == 130
    assert f"에폭 {epoch}, 배치 {batches} 상태를 저장" in logged()
    assert not read_json(tmp_path / "out" / "run.json")["finished"]
    with only_aligned_operands() as seen:
        assert not train(dataset, tmp_path / "out", config()).skipped
    assert seen
    assert f"이어서 학습: 에폭 {epoch}, 배치 {batches} " in logged()
    assert_same_run(tmp_path / "out", uninterrupted)


def test_a_run_that_goes_on_does_not_solve_for_its_start_again(dataset, tmp_path, uninterrupted, monkeypatch):
    def solved(*_):
        raise AssertionError("solved again")

    with pytest.raises(Interrupted):
        train(dataset, tmp_path / "out", config(), should_stop=StopAt(1 + 3))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "checkpoints" / "start").iterdir()}
    monkeypatch.setattr("redheart.training.trainer.start_linear_paths", solved)
    assert not train(dataset, tmp_path / "out", config()).skipped
    assert_same_run(tmp_path / "out", uninterrupted)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "checkpoints" / "start").iterdir()} == kept
    with pytest.raises(AssertionError, match="solved again"):
        train(dataset, tmp_path / "new", config())


def test_it_may_be_stopped_again_and_again(dataset, tmp_path, uninterrupted):
    stops = 0
    while True:
        try:
            train(dataset, tmp_path / "out", config(), should_stop=StopAt(5))
            break
        except Interrupted:
            stops += 1
    assert stops >= 2
    assert_same_run(tmp_path / "out", uninterrupted)


def test_a_damaged_newest_state_is_passed_over_with_the_reason(dataset, tmp_path, uninterrupted, logged):
    output = tmp_path / "out"
    with pytest.raises(Interrupted):
        train(dataset, output, config(), should_stop=StopAt(1 + 7 + 3))
    newest = max((output / "checkpoints" / "resume").glob("state_*"))
    victim = newest / "engine" / "slices_0000.safetensors"
    victim.write_bytes(victim.read_bytes()[:-100] + bytes(100))
    train(dataset, output, config())
    assert "손상된 재개 상태를 건너뜀" in logged() and str(victim) in logged()
    assert "이어서 학습: 에폭 2, 배치 0 " in logged()
    assert_same_run(output, uninterrupted)


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_run_without_a_state_to_go_on_from_starts_over_and_keeps_what_it_trained(
    dataset, tmp_path, uninterrupted, logged, how
):
    output = tmp_path / "out"
    with pytest.raises(Interrupted):
        train(dataset, output, config(), should_stop=StopAt(1 + 7 + 3))
    kept = {name: (output / name).read_bytes() for name in ("metrics.jsonl", "run.json")}
    for state in (output / "checkpoints" / "resume").glob("state_*"):
        if how == "damaged":
            (state / "manifest.json").write_text("{")
        else:
            shutil.rmtree(state)
    train(dataset, output, config())
    (aside,) = (output / "previous").iterdir()
    assert {name: (aside / name).read_bytes() for name in kept} == kept
    assert len(list_epochs(aside)) == 1
    assert "보존했습니다" in logged() and str(aside) in logged()
    assert_same_run(output, uninterrupted)


def test_a_run_that_was_ended_in_its_first_epoch_leaves_nothing_to_keep(dataset, tmp_path):
    output = tmp_path / "out"
    with pytest.raises(Interrupted):
        train(dataset, output, config(), should_stop=StopAt(1 + 3))
    shutil.rmtree(output / "checkpoints" / "resume")
    with pytest.raises(Interrupted):
        train(dataset, output, config(), should_stop=StopAt(1 + 3))
    assert not (output / "previous").exists()


def test_the_same_again_is_skipped_and_said(dataset, tmp_path, uninterrupted, logged):
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*") if path.is_file()}
    assert train(dataset, uninterrupted, config()).skipped
    assert "이미 학습됨" in logged()
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*") if path.is_file()} == before


def test_another_learning_rate_moves_the_old_run_away_and_deletes_nothing(dataset, tmp_path, logged):
    output = tmp_path / "out"
    one = config(epochs=1)
    train(dataset, output, one, learning_rate=1e-3)
    for leftover in ("best_model/manifest.json", "report/report.html", "evaluation/best_model_test.json"):
        (output / leftover).parent.mkdir(parents=True)
        (output / leftover).write_text("of the old run")
    (output / "lr_sweep_results").mkdir()
    old = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    train(dataset, output, one, learning_rate=5e-4)
    assert "(다른 실행: learning_rate: 0.001 → 0.0005)\n" in logged()
    (retired,) = (output / "previous").iterdir()
    kept = {str(path.relative_to(retired)): path.read_bytes() for path in retired.rglob("*") if path.is_file()}
    assert kept == old
    assert (output / "lr_sweep_results").is_dir(), "the sweep is not the run's"
    assert not (output / "best_model").exists() and metrics(output)[0]["learning_rate"] < 5e-4
    train(dataset, output, one, learning_rate=5e-4, force=True)
    assert len(list((output / "previous").iterdir())) == 2 and "(다른 실행: --force)\n" in logged()
    train(dataset, output, config(epochs=1, weight_decay=0.2), learning_rate=5e-4)
    assert "(다른 실행: training.weight_decay: 0.05 → 0.2)\n" in logged()
    assert [line["kind"] for line in read_lines(output / "metrics.jsonl")] == ["run", "epoch"]


def test_a_state_of_another_engine_is_gone_on_with_and_that_is_said(dataset, tmp_path, uninterrupted, logged):
    """What several processes write is for ``tests/engine`` to show."""
    output = tmp_path / "out"
    with pytest.raises(Interrupted):
        train(dataset, output, config(), should_stop=StopAt(1 + 3))
    (manifest,) = (output / "checkpoints" / "resume").glob("state_*/manifest.json")
    content = read_json(manifest)
    content["cursor"] |= {"engine": "zero3", "world_size": 4}
    write_sealed(manifest, content)
    train(dataset, output, config())
    assert "상태는 zero3(프로세스 4개)에서 저장됨, 지금은 plain(프로세스 1개)" in logged()
    assert_same_run(output, uninterrupted)


def test_tensorboard_events_are_written_and_closed_when_stopped_too(dataset, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = tmp_path / "out"
    with pytest.raises(Interrupted):
        train(dataset, output, config(), should_stop=StopAt(1 + 7 + 2))
    (events,) = (output / "tensorboard").rglob("events.out.tfevents.*")
    found = EventAccumulator(str(events)).Reload()
    assert [point.step for point in found.Scalars("train/loss")] == list(range(1, 9))
    assert [point.step for point in found.Scalars("choose/loss")] == [0, 6]
    assert {"train/learning_rate", "train/gradient_norm"} <= set(found.Tags()["scalars"])


def test_steps_that_are_taken_again_after_a_kill_stand_once_in_the_curves(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, after in ((1, 0), (3, 2)):  # killed behind step 4, with a state of step 2
        engine = make_engine(config(), tracking_folder=tmp_path)
        engine.start_tracking("run", after_step=after)
        for step in range(first, first + 4):
            engine.track({"train/loss": float(10 * after + step)}, step=step)
        engine.finish_tracking()
    points = EventAccumulator(str(tmp_path / "run")).Reload().Scalars("train/loss")
    assert [(point.step, point.value) for point in points] == [(1, 1), (2, 2), (3, 23), (4, 24), (5, 25), (6, 26)]


def command(dataset: Path, output: Path) -> list[str]:
    chosen = ["training.global_batch_size=8", "training.monitor_every=4", "model.dropout=0.2", "--preset", "tiny"]
    chosen.append("training.save_every_minutes=0")
    return [
        *(sys.executable, "-m", "redheart", "train", "--data", str(dataset), "--output", str(output)),
        *("--epochs", "2", "--lr", "1e-3", *chosen),
    ]


def killed_in_mid_epoch(dataset: Path, output: Path) -> int:
    """Starts a training in a process of its own, kills it in the midst of its second epoch, and gives its exit code."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *command(dataset, output)[3:]],
        env=environment,
        cwd=output.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 60
        while not (output.parent / "now").exists():
            assert process.poll() is None and time.monotonic() < deadline, "it never got there"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode


#: The command line, with a loop that says when it is in epoch 2, batch 3, and then takes its time.
SLOWLY = """
import sys, time
from pathlib import Path
from redheart.training.loop import TrainingLoop
original = TrainingLoop._step
def slow(self, epoch, index, batches):
    if (epoch, index) == (2, 2):
        Path("now").touch()
        time.sleep(1)
    return original(self, epoch, index, batches)
TrainingLoop._step = slow
from redheart.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def signalled_in_mid_epoch(number: int, dataset: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The command line in this process, which gets a signal in the midst of its second epoch; its exit code."""
    step = TrainingLoop._step

    def signalled(self, epoch, index, batches):
        if (epoch, index) == (2, 2):
            os.kill(os.getpid(), number)
        return step(self, epoch, index, batches)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_step", signalled)
        return redheart(*command(dataset, output)[3:], cwd=output.parent, REDHEART_LANG="ko").returncode


@pytest.mark.slow
@pytest.mark.parametrize(
    "how, code, resumed_at", [("SIGTERM", 130, (2, 3)), ("SIGUSR1", 130, (2, 3)), ("SIGKILL", -9, (2, 0))]
)
def test_a_signal_in_mid_epoch_costs_no_bit(dataset, tmp_path, uninterrupted, monkeypatch, how, code, resumed_at):
    output = tmp_path / "out"
    if how == "SIGKILL":
        assert killed_in_mid_epoch(dataset, output) == code
    else:
        assert signalled_in_mid_epoch(getattr(signal, how), dataset, output, monkeypatch) == code
    assert [one.epoch for one in list_epochs(output, verify=True)] == [1]
    set_up_logging(file=tmp_path / "said.log")  # the command set up its own
    train(dataset, output, config())
    epoch, batch = resumed_at
    assert f"이어서 학습: 에폭 {epoch}, 배치 {batch} " in (tmp_path / "said.log").read_text(encoding="utf-8")
    assert_same_run(output, uninterrupted)


def test_losses_that_are_no_number_are_counted_across_a_stop(dataset, tmp_path, table, monkeypatch):
    """Two before the stop and one after it are three in a row."""
    spoil(monkeypatch, set(table.ids))
    spoiled = config(max_nonfinite_steps=3, linear_start=False)
    original = Trainer._make_loop

    def unscored(self, engine):
        loop = original(self, engine)
        monkeypatch.setattr(StartCheckpoint, "before_run", lambda *_: None)
        return loop

    monkeypatch.setattr(Trainer, "_make_loop", unscored)
    with pytest.raises(Interrupted):
        train(dataset, tmp_path / "out", spoiled, should_stop=StopAt(2))
    with pytest.raises(
        TrainingError, match=r"epoch 1, batch 3: 3 steps in a row had a loss or gradient that is not finite"
    ):
        train(dataset, tmp_path / "out", spoiled)

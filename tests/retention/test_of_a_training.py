"""Retention by the stage ``train`` as it is: thinned as epochs come, over a stop too, and never trained again for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from redheart.checkpoint import list_epochs
from redheart.config import load_config
from redheart.embedding import EmbeddedDataset, open_embedded
from redheart.errors import Interrupted
from redheart.storage import read_lines
from redheart.tasks import MODULES
from redheart.training.run_folder import read_run
from redheart.workflow import stages
from tests.training.small_data import write_embedded

EPOCHS = 5
SETTINGS = (
    *("model.preset=tiny", f"training.epochs={EPOCHS}", "training.learning_rate=3e-3", "training.global_batch_size=40"),
    *("training.keep_epochs=thinned", "training.keep_last=1", "training.keep_best=1", "crossover.average_last=1"),
    *("training.linear_start=false", "training.liveness_steps=0", "training.save_every_minutes=0"),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedDataset:
    torch.set_num_threads(1)
    return open_embedded(write_embedded(tmp_path_factory.mktemp("data")))


def _train(dataset: EmbeddedDataset, output: Path, stop_after: int | None = None) -> None:
    def is_time() -> bool:
        there = output / "metrics.jsonl"
        return stop_after is not None and there.exists() and len(read_lines(there)) > stop_after

    stages.train(load_config(None, [*SETTINGS, f"output={output}"]), dataset, should_stop=is_time)


def _kept(output: Path) -> dict[int, tuple[str, ...]]:
    return {one.epoch: one.manifest.modules for one in list_epochs(output, verify=True)}


def test_a_thinned_run_that_was_stopped_keeps_what_the_undisturbed_one_keeps_and_is_done(
    dataset: EmbeddedDataset, tmp_path: Path
) -> None:
    plain, stopped = tmp_path / "plain", tmp_path / "stopped"
    _train(dataset, plain)
    kept = _kept(plain)
    assert [*kept] == [*range(1, EPOCHS + 1)]
    assert len(kept[EPOCHS]) == len(MODULES) and min(map(len, kept.values())) < len(MODULES)
    with pytest.raises(Interrupted):
        _train(dataset, stopped, stop_after=3)
    assert len(_kept(stopped)) < EPOCHS
    _train(dataset, stopped)
    assert _kept(stopped) == kept
    hashes = [{one.epoch: one.manifest.weights_identity for one in list_epochs(output)} for output in (plain, stopped)]
    assert hashes[0] == hashes[1]
    before = {path: path.stat().st_mtime_ns for path in stopped.rglob("*.safetensors")}
    _train(dataset, stopped)
    assert before == {path: path.stat().st_mtime_ns for path in stopped.rglob("*.safetensors")}, "it was finished"
    run = read_run(stopped)
    assert run is not None and run.finished

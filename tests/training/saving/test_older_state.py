"""States of earlier versions: gone on with under the same engine, made a model of, refused elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from redheart.checkpoint import load_modules
from redheart.checkpoint.restore import restore_model
from redheart.engine.factory import make_engine
from redheart.errors import ConfigError, Interrupted, StorageError
from redheart.paths import OutputPaths
from redheart.storage import read_json
from redheart.storage.seal import write_sealed
from redheart.training.saving.resume_state import newest_state
from redheart.workflow.consolidate import consolidate
from tests.training.runs import metrics, same_bits, train, weights
from tests.training.saving.older_state import writing_older_states
from tests.training.test_average import StopAt


def state_of(output: Path) -> Path:
    return max(OutputPaths(output).resume.glob("state_*"))


def test_a_run_goes_on_from_it_to_the_same_bits_and_its_next_state_is_of_the_new_form(
    dataset, settings, tmp_path
) -> None:
    stopped = tmp_path
    config = settings(epochs=1, ema_decay=0.5, global_batch_size=8)
    with writing_older_states(), pytest.raises(Interrupted):
        train(dataset, stopped / "cut", config, should_stop=StopAt(1 + 3))
    written = sorted(path.name for path in state_of(stopped / "cut").rglob("*") if path.is_file())
    assert "optimizer.bin" in written and "average_0000.safetensors" in written
    consolidated = restore_model(consolidate(stopped / "cut", stopped / "model")).state_dict()
    assert len(consolidated) == len(load_modules(stopped / "model")) > 300
    train(dataset, stopped / "cut", config)
    train(dataset, stopped / "whole", config)
    assert metrics(stopped / "cut") == metrics(stopped / "whole")
    assert same_bits(weights(stopped / "cut"), weights(stopped / "whole"))
    names = sorted(path.name for path in state_of(stopped / "cut").rglob("*") if path.is_file())
    assert names == ["manifest.json", "outside.safetensors", "random_0000.json", "slices_0000.safetensors"]


def test_under_another_engine_it_is_refused_and_so_is_one_of_a_later_version(dataset, settings, tmp_path) -> None:
    config = settings(epochs=1)
    with writing_older_states(), pytest.raises(Interrupted):
        train(dataset, tmp_path / "cut", config, should_stop=StopAt(1 + 1))
    manifest = state_of(tmp_path / "cut") / "manifest.json"
    content = read_json(manifest)
    engine, run = make_engine(config), content["cursor"]["run"]
    for change, error, said in (
        (
            {"engine": "zero2", "world_size": 2},
            ConfigError,
            "under zero2 with 2 processes.*can't go on under plain with 1",
        ),
        ({"form": 3}, StorageError, "a state of form 3, and this version knows 2 at most"),
    ):
        write_sealed(manifest, {**content, "cursor": content["cursor"] | change})
        with pytest.raises(error, match=said):
            newest_state(tmp_path / "cut", run, engine, None)

"""The files of a resume state: that all of a group's are there, and what is kept of fp16's loss scaler."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from redheart.engine.resume_files import LossScale, check_complete
from redheart.engine.zero.engine import DeepSpeedEngine
from redheart.errors import StorageError
from redheart.storage import read_struct, write_json


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


class TestCompleteness:
    def test_one_process_s_files_are_enough_where_one_wrote(self, tmp_path: Path) -> None:
        folder = files(
            tmp_path, "slices_0000.safetensors", "random_0000.json", "random_0001.json", "outside.safetensors"
        )
        check_complete(folder, 2, shards_state=False)

    def test_a_shard_that_is_not_seen_is_named_with_what_may_be_behind_it(self, tmp_path: Path) -> None:
        folder = files(tmp_path, "slices_0000.safetensors", "random_0000.json", "random_0001.json")
        with pytest.raises(StorageError) as found:
            check_complete(folder, 2, shards_state=True)
        assert f"{folder}: found no slices_0001.safetensors, wanted the files of all 2 processes" in str(found.value)
        assert "same folder on every node" in str(found.value)

    def test_so_is_a_process_s_random_state(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"found no random_0001\.json, wanted"):
            check_complete(files(tmp_path, "slices_0000.safetensors", "random_0000.json"), 2, shards_state=False)


@pytest.fixture
def new_scaler(monkeypatch: pytest.MonkeyPatch) -> Any:
    """DeepSpeed's, which says on its first process what it does."""
    scaling = pytest.importorskip("deepspeed.runtime.fp16.loss_scaler")
    monkeypatch.setattr(scaling, "dist", SimpleNamespace(get_rank=lambda: 1))

    def make(delayed_shift: int = 2) -> Any:
        return scaling.DynamicLossScaler(2.0**16, 1000, 1, delayed_shift, consecutive_hysteresis=False)

    return make


def engine_with(scaler: Any) -> DeepSpeedEngine:
    """As much of an engine as keeps a loss scale."""
    engine = object.__new__(DeepSpeedEngine)
    engine.precision = "fp16"
    engine.model = SimpleNamespace(optimizer=SimpleNamespace(loss_scaler=scaler))
    return engine


class TestDeepSpeedsLossScale:
    def test_who_goes_on_takes_the_scale_down_when_the_undisturbed_run_does(
        self, tmp_path: Path, new_scaler: Any
    ) -> None:
        undisturbed, later = new_scaler(), new_scaler()
        for overflow in (False, True, False):  # the first overflow takes away only one of two chances
            undisturbed.update_scale(overflow)
        kept = engine_with(undisturbed).loss_scale()
        assert kept == LossScale(2.0**16, 1, 1)
        write_json(tmp_path / "scaler.json", kept)
        engine_with(later).set_loss_scale(read_struct(tmp_path / "scaler.json", LossScale))
        for scaler in (undisturbed, later):
            scaler.update_scale(True)
        assert undisturbed.cur_scale == later.cur_scale == 2.0**15

    @pytest.mark.parametrize("kept", [LossScale(8.0, 3), LossScale(8.0, 3, 4)])
    def test_what_another_scaler_kept_begins_with_all_its_chances(self, new_scaler: Any, kept: LossScale) -> None:
        scaler = new_scaler()
        engine_with(scaler).set_loss_scale(kept)
        assert (scaler.cur_scale, scaler.cur_hysteresis) == (8.0, 2)

    def test_an_earlier_version_s_file_is_read(self, tmp_path: Path) -> None:
        write_json(tmp_path / "scaler.json", {"scale": 8.0, "good_steps": 3})
        assert msgspec.structs.asdict(read_struct(tmp_path / "scaler.json", LossScale))["hysteresis"] is None

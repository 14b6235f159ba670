"""The benchmark of a crossover: both ways of scoring candidates give the same, and what is stored keeps the promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.candidate_process import ours, plain, table_of
from benchmarks.crossover import BYTES, EPOCHS, MODELS, RESULT, TIMES, write_epochs
from redheart.crossover import strategies


def test_both_ways_score_the_same_candidates_alike_and_ours_copies_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    for place, name in ((strategies, "sha256_of"), (strategies.EpochFiles, "tensors")):
        monkeypatch.setattr(place, name, getattr(place, name))  # put back what the measurement counts by
    write_epochs(tmp_path, "tiny")
    table = table_of(60)
    (found, counted), (expected, counted_there) = ours(tmp_path, table), plain(tmp_path, table)
    assert found == expected and len(found) == 8
    files = list((tmp_path / "checkpoints").glob("*/*.safetensors"))
    assert set(counted["hashed"]) == set(counted_there["hashed"]) == set(files) and len(files) == 17 * EPOCHS
    assert all(counted["hashed"][file] == file.stat().st_size for file in files), "each is hashed once"
    assert sum(counted["copied"].values()) < sum(counted_there["copied"].values())


def test_the_stored_result_keeps_what_is_promised() -> None:
    stored = json.loads(RESULT.read_text())
    assert stored["preset"] == "730m"
    assert all(times <= TIMES for times in stored["times"].values())
    assert all(extra <= BYTES for extra in stored["bytes"].values())
    assert stored["candidates"]["bytes"] <= MODELS * 4 * stored["parameters"]

"""One small run for all tests of this folder; those that write get a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.crossover.small_run import SmallRun, small_table, train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("small_run")
    return train(folder / "training", small_table(folder), epochs=6)


@pytest.fixture
def run(trained: SmallRun, tmp_path: Path) -> SmallRun:
    """A copy that a test may write to."""
    shutil.copytree(trained.output, tmp_path / "training")
    return SmallRun(tmp_path / "training", trained.table, trained.states)

"""Fixtures of everything that trains a small model: the sample's first situations with random vectors that tell of their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from redheart.batches.table import SituationTable
from redheart.config import Config, load_config
from redheart.messages import set_up_logging
from tests.training.linear_start_once import fit_each_once
from tests.training.small_data import write_embedded


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The model is so small that threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="package")
def linear_start_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        fit_each_once(patch)
        yield


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedded(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def table(dataset: Path) -> SituationTable:
    return SituationTable.open(dataset)


@pytest.fixture
def settings() -> Callable[..., Config]:
    """The configuration of a small run; keywords are settings of its training section."""

    def make(**training: Any) -> Config:
        chosen = {"epochs": 2, "global_batch_size": 16, "monitor_every": 100, "save_every_minutes": 0, **training}
        overrides = [(f"training.{key}", value) for key, value in chosen.items() if key != "dropout"]
        return load_config(None, [*overrides, ("model.preset", "tiny"), ("model.dropout", chosen.get("dropout", 0.0))])

    return make


@pytest.fixture(autouse=True)
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """What was said in this test, as text."""
    file = tmp_path_factory.mktemp("said") / "said.log"
    set_up_logging(file=file)
    yield lambda: file.read_text(encoding="utf-8")
    set_up_logging(quiet=True)

"""What only a CUDA device can show. Everything here skips, saying so, where there is none: ``make gpu-test``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from redheart.checkpoint import list_epochs, load_modules
from redheart.config import Config, load_config
from redheart.training.records import training_metrics
from redheart.training.stage import TrainingStage
from tests.training.small_data import write_embedded

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedded(tmp_path_factory.mktemp("data"))


@pytest.fixture
def train(dataset: Path, tmp_path: Path) -> Callable[..., list[dict[str, object]]]:
    """Trains ``tiny`` for two epochs with the given settings and returns the epochs' records."""

    def run(name: str, **training: object) -> list[dict[str, object]]:
        chosen = {"epochs": 2, "global_batch_size": 16, **training}
        overrides = [(f"training.{key}", value) for key, value in chosen.items()]
        config: Config = load_config(None, [*overrides, ("model.preset", "tiny"), ("model.dropout", 0.0)])
        TrainingStage(config, dataset, tmp_path / name, learning_rate=1e-3).run()
        return training_metrics(tmp_path / name)

    return run


def losses(records: list[dict[str, object]]) -> list[float]:
    return [value["loss"] for record in records for value in (record["train"], record["choose"])]  # type: ignore[index]


def test_the_default_precision_is_bf16_and_its_losses_are_near_those_of_fp32(train: Callable[..., list]) -> None:
    assert torch.cuda.is_bf16_supported()
    assert losses(train("auto")) == pytest.approx(losses(train("fp32", precision="no")), rel=2e-2)


def test_fp16_scales_its_loss_and_trains(train: Callable[..., list]) -> None:
    records = train("fp16", precision="fp16")
    assert losses(records) == pytest.approx(losses(train("fp32", precision="no")), rel=5e-2)
    assert all(update["relative"] > 0 for update in records[-1]["update"]["modules"].values())


def test_every_module_updates_under_bf16(train: Callable[..., list]) -> None:
    for record in train("bf16", precision="bf16"):
        assert all(update["relative"] > 0 for update in record["update"]["modules"].values())


def test_weights_are_stored_in_fp32(train: Callable[..., list], tmp_path: Path) -> None:
    train("stored", precision="bf16")
    state = load_modules(list_epochs(tmp_path / "stored")[-1].path)
    assert {tensor.dtype for name, tensor in state.items() if name.endswith("weight")} == {torch.float32}


def test_the_730m_model_takes_a_step_in_bf16(dataset: Path, tmp_path: Path) -> None:
    free, _ = torch.cuda.mem_get_info()
    if free < 24 * 1024**3:
        pytest.skip(f"the 730M model with AdamW in fp32 wants 24 GiB, {free / 1024**3:.0f} are free")
    config = load_config(None, ["model.preset=730m", "training.epochs=1", "training.global_batch_size=16"])
    TrainingStage(config, dataset, tmp_path / "large", learning_rate=1e-4).run()
    record = training_metrics(tmp_path / "large")[-1]
    assert all(update["relative"] > 0 for update in record["update"]["modules"].values())

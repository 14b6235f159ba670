"""What only a CUDA device can show. Everything here skips, saying so, where there is none: ``make gpu-test``.

What compiles stands last: it takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from redheart.checkpoint import list_epochs, load_modules
from redheart.config import Config, load_config
from redheart.engine.compiled import compile_forward
from redheart.model import Batch, Outputs, UnifiedModel, compute_losses, dimensions, modules_of
from redheart.model.modules.activation_checkpointing import recompute_blocks
from redheart.model.modules.kalman import KalmanFilter, smooth
from redheart.training.trainer import Trainer
from tests.model.conftest import fit, make_batch
from tests.model.test_kalman import problem
from tests.training.runs import training_metrics
from tests.training.small_data import write_embedded

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

Train = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedded(tmp_path_factory.mktemp("data"))


@pytest.fixture
def train(dataset: Path, tmp_path: Path) -> Train:
    """Trains ``tiny`` for two epochs with the given settings and returns the epochs' records."""

    def run(name: str, **training: object) -> list[dict[str, Any]]:
        chosen = {"epochs": 2, "global_batch_size": 16, **training}
        overrides = [(f"training.{key}", value) for key, value in chosen.items()]
        config: Config = load_config(None, [*overrides, ("model.preset", "tiny"), ("model.dropout", 0.0)])
        AcceleratorState._reset_state()  # or it takes no second precision in one process
        Trainer(config, dataset, tmp_path / name, learning_rate=1e-3).run()
        return training_metrics(tmp_path / name)

    return run


def losses(records: list[dict[str, Any]]) -> list[float]:
    return [value["loss"] for record in records for value in (record["train"], record["choose"])]


def test_the_default_precision_is_bf16_and_its_losses_are_near_those_of_fp32(train: Train) -> None:
    assert torch.cuda.is_bf16_supported()
    assert losses(train("auto")) == pytest.approx(losses(train("fp32", precision="no")), rel=2e-2)


def test_fp16_scales_its_loss_and_trains(train: Train) -> None:
    records = train("fp16", precision="fp16")
    assert losses(records) == pytest.approx(losses(train("fp32", precision="no")), rel=5e-2)
    assert all(update["relative"] > 0 for update in records[-1]["update"]["modules"].values())


def test_every_module_updates_under_bf16(train: Train) -> None:
    for record in train("bf16", precision="bf16"):
        assert all(update["relative"] > 0 for update in record["update"]["modules"].values())


def test_weights_are_stored_in_fp32(train: Train, tmp_path: Path) -> None:
    train("stored", precision="bf16")
    state = load_modules(list_epochs(tmp_path / "stored")[-1].path)
    assert {tensor.dtype for name, tensor in state.items() if name.endswith("weight")} == {torch.float32}


def test_the_730m_model_takes_a_step_in_bf16(dataset: Path, tmp_path: Path) -> None:
    free, _ = torch.cuda.mem_get_info()
    if free < 24 * 1024**3:
        pytest.skip(f"the 730M model with AdamW in fp32 wants 24 GiB, {free / 1024**3:.0f} are free")
    config = load_config(None, ["model.preset=730m", "training.epochs=1", "training.global_batch_size=16"])
    AcceleratorState._reset_state()
    Trainer(config, dataset, tmp_path / "large", learning_rate=1e-4).run()
    record = training_metrics(tmp_path / "large")[-1]
    assert all(update["relative"] > 0 for update in record["update"]["modules"].values())


def small_model(situations: int = 16, dropout: float = 0.0) -> tuple[UnifiedModel, Batch]:
    torch.manual_seed(0)
    batch = make_batch(situations, longest=16).to("cuda")
    model = UnifiedModel(dimensions("small", d_embed=48, dropout=dropout), fit(batch.to("cpu"))).cuda()
    return model, batch


def gradients(model: UnifiedModel, batch: Batch) -> tuple[Outputs, dict[str, torch.Tensor]]:
    """A training step in bf16: its outputs, and each module's gradient as one vector."""
    model.zero_grad(set_to_none=True)
    with torch.autocast("cuda", torch.bfloat16):
        outputs = model(*batch.inputs)
    compute_losses(outputs, batch, model.statistics).total.backward()
    return outputs, {
        name: torch.cat([one.grad.flatten() for one in module.parameters() if one.grad is not None])
        for name, module in modules_of(model).items()
    }


def test_checkpointed_blocks_need_less_memory_and_give_the_same_gradients() -> None:
    model, batch = small_model(256, dropout=0.1)  # or the gradients alone would be the peak
    peaks, found = [], []
    gradients(model, batch)  # what libraries take at their first use
    for on in (False, True):
        recompute_blocks(model, on)
        model.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        torch.manual_seed(1)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        found.append(gradients(model, batch)[1])
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < 0.7 * peaks[0]
    for name in found[0]:
        torch.testing.assert_close(found[1][name], found[0][name], rtol=1e-3, atol=1e-6)


def test_the_smoother_on_a_gpu_agrees_with_the_cpus() -> None:
    torch.manual_seed(0)
    arguments = [tensor.cuda() for tensor in problem()]
    with torch.autocast("cuda", torch.bfloat16):
        module = KalmanFilter(dimensions("tiny")).cuda()
        _, prediction = module(torch.randn(3, 16, 96, device="cuda"), arguments[-1])
    assert prediction.isfinite().all()
    means, variances = smooth(*arguments)
    on_cpu = smooth(*[tensor.cpu() for tensor in arguments])
    torch.testing.assert_close(means.cpu(), on_cpu[0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(variances.cpu(), on_cpu[1], atol=1e-4, rtol=1e-3)


def test_the_compiled_step_in_bf16_is_near_the_eager_one_in_one_graph_for_every_batch() -> None:
    model, batch = small_model()
    (wanted, exact) = gradients(model, batch)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compile_forward(model)
    found, own = gradients(model, batch)
    for name in wanted.predictions:
        torch.testing.assert_close(found.predictions[name], wanted.predictions[name], atol=0.03, rtol=0.03)
    for name in exact:
        assert (own[name] - exact[name]).norm() < 0.05 * exact[name].norm(), name
    for situations in (5, 1):
        outputs, _ = gradients(model, batch.rows(0, situations))
        assert all(len(tensor) == situations and tensor.isfinite().all() for tensor in outputs.predictions.values())
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_a_compiled_training_ends_near_the_eager_one(train: Train) -> None:
    torch._dynamo.reset()
    assert losses(train("compiled", compile=True)) == pytest.approx(losses(train("eager")), rel=2e-2)

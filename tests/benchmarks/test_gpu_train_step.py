"""The benchmark of a training step: it runs to its end, its file keeps to its form, and a shortage of memory ends nothing."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

import benchmarks.gpu_train_step as benchmark
from benchmarks.train_step_profile import category_of
from benchmarks.train_step_result import RESULT, NotMeasured, Result, Run, read_result, store_run
from benchmarks.train_step_subjects import layers_for, peer_flops
from redheart.model import dimensions
from redheart.model.flops import count_flops


def test_the_stored_result_keeps_to_the_schema() -> None:
    found = read_result(RESULT)
    assert isinstance(found.reduced, Run) and found.reduced.complete and not found.reduced.skipped
    assert found.reduced.device.kind == "cpu" and {row.outcome for row in found.reduced.rows} == {"measured"}
    assert isinstance(found.gpu, NotMeasured) or found.gpu.device.kind == "cuda"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the CPU that traces the model and runs it as it is.

    At the larger batch the eager way runs out of memory whenever it is tried.
    """
    path = tmp_path_factory.mktemp("result") / "result.json"
    timed = benchmark.seconds_of

    def short_of_memory(step: Any, batch: Any, count: int, *, on_cuda: bool) -> list[float]:
        if len(batch) == 4 and taken.count(4) < 2:
            taken.append(len(batch))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        taken.append(len(batch))
        return timed(step, batch, count, on_cuda=on_cuda)

    taken: list[int] = []
    words = ["--reduced", "--backend", "eager", "--batches", "2,4", "--rounds", "1", "--steps", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "seconds_of", short_of_memory)
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        assert benchmark.main([*words, "--result", str(path)]) == 0
        torch._dynamo.reset()
    return path


@pytest.mark.slow
def test_a_run_fills_its_place_and_leaves_the_gpus(result: Path) -> None:
    found = read_result(result)
    assert found.gpu == NotMeasured() and json.loads(result.read_text())["gpu"] == {"status": "not measured"}
    run = found.reduced
    assert isinstance(run, Run) and run.complete and run.graphs == 1 and run.compile_seconds
    assert run.model.forward_flops == count_flops(dimensions("tiny"), situations=16).per_situation
    assert run.profile is not None and sum(run.profile.shares.values()) == pytest.approx(1.0, abs=1e-3)
    assert run.profile.shares["matmul"] > 0.05 and run.profile.top[0].seconds >= run.profile.top[-1].seconds


@pytest.mark.slow
def test_a_subject_that_does_not_fit_is_told_and_the_others_go_on(result: Path) -> None:
    run = read_result(result).reduced
    assert isinstance(run, Run)
    missing = [(row.subject, row.situations) for row in run.rows if row.outcome == "out of memory"]
    assert missing == [(benchmark.EAGER, 4)]
    for row in run.rows:
        if row.outcome == "measured":
            assert row.seconds and row.situations_per_second == pytest.approx(row.situations / row.seconds)
            assert row.low <= row.seconds <= row.high and row.mfu is None
        else:
            assert row.seconds is None and row.steps == 0
    assert {row.subject for row in run.rows} == {
        benchmark.EAGER,
        benchmark.COMPILED,
        benchmark.CHECKPOINTED,
        f"{benchmark.COMPILED}, beside the peer",
        f"{benchmark.PEER}, compiled",
    }
    table = benchmark.as_table(run)
    assert "out of memory" in table and table.count("\n") < 20


@pytest.mark.slow
def test_where_nothing_can_be_compiled_the_eager_rows_are_kept_and_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    words = ["--reduced", "--backend", "no such", "--batches", "2", "--rounds", "1", "--steps", "1"]
    assert benchmark.main([*words, "--result", str(path)]) == 1
    run = read_result(path).reduced
    assert isinstance(run, Run) and run.complete and run.compile_seconds is None and run.graphs == 0
    assert len(run.skipped) == 1 and run.skipped[0].startswith("compiling: ") and "no such" in run.skipped[0]
    assert run.profile is not None and run.profile.subject == benchmark.EAGER
    assert {row.subject for row in run.rows} == {
        benchmark.EAGER,
        benchmark.CHECKPOINTED,
        f"{benchmark.EAGER}, beside the peer",
        f"{benchmark.PEER}, eager",
    }


def test_what_does_not_end_is_ended_from_outside_and_inside_the_nearer_limit_counts() -> None:
    began, outside = time.monotonic(), signal.getitimer(signal.ITIMER_REAL)  # the test runner's own limit
    with pytest.raises(benchmark.TookTooLong), benchmark.no_longer_than(0.2):
        time.sleep(30)
    with pytest.raises(benchmark.TookTooLong), benchmark.no_longer_than(0.2), benchmark.no_longer_than(20):
        time.sleep(30)
    with pytest.raises(benchmark.TookTooLong), benchmark.no_longer_than(0.5):
        with contextlib.suppress(benchmark.TookTooLong), benchmark.no_longer_than(0.1):
            time.sleep(30)
        time.sleep(30)
    assert time.monotonic() - began < 5
    left = signal.getitimer(signal.ITIMER_REAL)
    assert left == (pytest.approx(outside[0], abs=5), outside[1]), "what was running before goes on, and nothing else"


def test_a_cpu_run_keeps_what_a_gpu_measured(tmp_path: Path) -> None:
    stored = read_result(RESULT).reduced
    assert isinstance(stored, Run)
    on_gpu = msgspec.structs.replace(stored, device=msgspec.structs.replace(stored.device, kind="cuda"))
    path = tmp_path / "result.json"
    store_run(on_gpu, path)
    store_run(stored, path)
    assert read_result(path) == Result(on_gpu, stored)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["reduced"].pop("rows"),
        lambda content: content["reduced"].update(speed=1),
        lambda content: content["reduced"]["rows"][0].update(mfu=1.4),
        lambda content: content["reduced"]["rows"][0].update(seconds=0),
        lambda content: content["gpu"].update(status="fast"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, change: Any) -> None:
    content = json.loads(RESULT.read_text())
    change(content)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    with pytest.raises(msgspec.ValidationError):
        read_result(path)


@pytest.mark.parametrize("preset", ["tiny", "730m"])
def test_the_peer_has_as_many_operations(preset: str) -> None:
    dims = dimensions(preset)
    wanted = count_flops(dims, situations=16).per_situation
    assert peer_flops(dims, layers_for(dims, wanted)) == pytest.approx(wanted, rel=0.06 if preset == "tiny" else 0.02)


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT", "matmul"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n", "matmul"),
        ("fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel)", "attention"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>", "optimizer"),
        ("triton_red_fused_native_layer_norm_4", "elementwise and norm"),
        ("void potrf_batch_kernel", "factorisation"),
        ("Memcpy DtoD (Device -> Device)", "copy"),
        ("something_else", "other"),
    ],
)
def test_kernels_are_put_into_categories_by_their_names(name: str, category: str) -> None:
    assert category_of(name) == category

"""A run with every stage, small and synthetic, for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from redheart.batches.table import SituationTable
from redheart.config import Config, CrossoverConfig, ReportConfig, SweetSpotConfig, resolved_yaml
from redheart.crossover import run_crossover
from redheart.messages import set_language
from redheart.report import export_curves
from redheart.storage import write_json, write_text
from redheart.sweet_spot import analyze
from tests.crossover.small_run import small_table, train

CONFIG = Config(crossover=CrossoverConfig(random_controls=1), report=ReportConfig(bootstrap_samples=200))


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    set_language("en")
    yield
    set_language("ko")


def finish(output: Path, table: SituationTable, *, plots: bool = False) -> None:
    """The stages after training."""
    analysis = analyze(output / "metrics.jsonl", output, SweetSpotConfig(), plots=plots)
    run_crossover(CONFIG, output, analysis, table)
    write_text(output / "config.yaml", resolved_yaml(CONFIG))
    write_json(
        output / "run.json",
        {
            "dataset": "/data/<b>mine</b>.embedded.json",
            "counts": table.counts,
            "device": "cpu",
            "engine": "plain",
            "precision": "no",
            "world_size": 1,
        },
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("finished")
    table = small_table(folder, 200)
    output = train(folder / "training", table, epochs=4).output
    finish(output, table)
    sweep = output / "lr_sweep_results"
    write_json(
        sweep / "optimal_lr.json",
        {
            "optimal_lr": "5.6e-05",
            "val_loss": 0.71,
            "evidence": {
                "fit_interval": [3e-5, 9e-5],
                "noise": 0.004,
                "within_noise": ["5.6e-05", "8e-05"],
                "at_edge": False,
                "fit_problem": None,
            },
        },
    )
    write_json(sweep / "lr_sweep_cumulative.json", {"5.6e-05": {}, "8e-05": {}})
    export_curves(output)
    for name in ("hierarchical_lr_sweep", *(f"hierarchical_lr_sweep_stage{stage}" for stage in range(5))):
        shutil.copy(output / "plots" / "training_curves.png", sweep / f"{name}.png")
    write_json(
        output / "oom_stats" / "oom_stats.json",
        {
            "count": 1,
            "events": [
                {
                    "time": "t",
                    "epoch": 1,
                    "global_step": 1,
                    "micro_batch_size": 8,
                    "smaller_micro_batch_size": 4,
                    "message": "<script>boom</script>",
                }
            ],
            "device": "cpu",
            "final_micro_batch_size": 4,
            "peak_device_bytes": None,
            "peak_host_bytes": 3 << 30,
        },
    )
    return output


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may write to."""
    shutil.copytree(finished, tmp_path / "training")
    return tmp_path / "training"

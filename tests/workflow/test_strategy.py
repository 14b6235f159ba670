"""The strategy of a training: chosen before anything starts, and what does not fit refused there."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from redheart.cli.commands import launching
from redheart.cli.main import main
from redheart.config import Config, with_settings
from redheart.errors import ConfigError, OutOfMemory
from redheart.machine import GIB, Gpu, Machine
from redheart.plan import auto
from redheart.workflow import run, stages, strategy
from redheart.workflow.examinations import doctor, plan
from redheart.workflow.strategy import HERE, Described, choose_strategy, fitting_alone, preset_for, settings_of

DATASET: Any = SimpleNamespace(counts=np.array([4, 16]), d_embed=384, facts=SimpleNamespace(counts={"train": 1000}))


def config(preset: str, **settings: Any) -> Config:
    return with_settings(Config(), {"model.preset": preset, "training.precision": "bf16", **settings})


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what this machine has."""

    def is_like(*gpu_gib: float, host_gib: float) -> None:
        gpus = tuple(Gpu("card", int(size * GIB), int(size * GIB), (9, 0)) for size in gpu_gib)
        found = Machine(gpus, int(host_gib * GIB), 8, 1000 * GIB)
        for module in (plan, strategy, doctor):
            monkeypatch.setattr(module, "inspect_machine", lambda _: found)
        monkeypatch.setattr(strategy, "find_gpus", lambda: gpus)
        monkeypatch.setattr(auto, "capacity", lambda _: found)

    return is_like


def test_a_small_card_is_started_by_the_launch_file_of_what_fits(machine: Any) -> None:
    machine(8, host_gib=32)
    found = choose_strategy(config("730m"), DATASET, HERE)
    assert strategy.place_of(found) == ("launch/zero2_offload.yaml", 1)
    with pytest.raises(OutOfMemory, match=r"does not fit.*redheart launch"):
        fitting_alone(config("730m"), DATASET)
    assert fitting_alone(config("small"), DATASET) == config("small", **{"training.micro_batch_size": 32})
    large = config("small", **{"training.global_batch_size": 256})
    assert fitting_alone(large, DATASET) == with_settings(large, {"training.micro_batch_size": 256})


def test_what_fits_with_activation_checkpointing_alone_gets_it(machine: Any) -> None:
    asked = config("small", **{"training.global_batch_size": 4096, "training.micro_batch_size": 512})
    machine(3.2, host_gib=32)
    settled = fitting_alone(asked, DATASET)
    assert settled == with_settings(asked, {"training.activation_checkpointing": True})
    assert settings_of(choose_strategy(asked, DATASET, HERE)) == {"training.activation_checkpointing": True}


def test_too_little_memory_is_refused_with_numbers_and_the_preset_that_fits(machine: Any) -> None:
    machine(host_gib=6)
    with pytest.raises(OutOfMemory, match=r"730m: .*11\.\d GiB.*6\.0.*--preset small"):
        fitting_alone(config("730m", **{"training.precision": "no"}), DATASET)
    with pytest.raises(OutOfMemory, match="730m"):
        choose_strategy(config("730m"), DATASET, HERE)
    machine(host_gib=13)
    fitting_alone(config("730m", **{"training.precision": "no"}), DATASET)


def test_a_refusal_tells_what_is_usable_of_what_is_there(machine: Any) -> None:
    machine(host_gib=11.5)
    with pytest.raises(OutOfMemory) as refused:
        fitting_alone(config("730m", **{"training.precision": "no"}), DATASET)
    taken, usable = (float(one) for one in re.findall(r"(\d+\.\d) (?:GiB|/|of)", str(refused.value)))
    assert taken > usable and "GPU" not in str(refused.value)
    machine(8, host_gib=4)
    with pytest.raises(OutOfMemory, match=r"GPU.*7\.1.*8\.0.*3\.8.*4\.0"):
        choose_strategy(config("730m"), DATASET, HERE)


def test_the_plan_refuses_a_precision_that_training_refuses(machine: Any) -> None:
    machine(host_gib=64)
    with pytest.raises(ConfigError, match="fp16 needs a CUDA device"):
        plan.plan_training(config("tiny", **{"training.precision": "fp16"}))
    machine(8, host_gib=64)
    assert plan.plan_training(config("tiny", **{"training.precision": "fp16"})).chosen


def test_doctor_says_no_where_the_plan_says_no(machine: Any) -> None:
    machine(host_gib=6)
    refused = doctor._plan(config("730m"))
    assert refused.required and not refused.ok and "--preset small" in refused.found
    assert doctor._plan(config("tiny")).ok


def test_a_described_card_decides_strategy_and_preset(machine: Any) -> None:
    machine(host_gib=64)
    card = Described(gpus=1, gpu_bytes=8 * GIB)
    assert preset_for(Config(), card) == "730m"
    assert preset_for(Config(), Described(gpu_bytes=2 * GIB, host_bytes=8 * GIB)) == "small"
    assert strategy.place_of(choose_strategy(config("730m"), DATASET, card)) == ("launch/zero2_offload.yaml", 1)
    four = Described(gpus=4, gpu_bytes=80 * GIB)
    assert strategy.place_of(choose_strategy(config("730m"), DATASET, four))[1] == 4


@pytest.mark.parametrize(
    ("gpus", "host_gib", "preset"),
    [((8.0,), 32, "730m"), ((2.0,), 8, "small"), ((0.8,), 1.2, "tiny"), ((24.0, 24.0), 64, "730m")],
)
def test_auto_is_the_largest_preset_that_fits(
    machine: Any, monkeypatch: pytest.MonkeyPatch, gpus: tuple[float, ...], host_gib: float, preset: str
) -> None:
    machine(*gpus, host_gib=host_gib)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert auto.choose_preset(config("auto"))[0] == preset


def test_the_plan_here_is_of_the_preset_that_is_trained_here(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(2, host_gib=10)  # what others leave of it
    there = Machine((Gpu("card", 24 * GIB, 24 * GIB, (9, 0)),), 64 * GIB, 8, GIB)
    monkeypatch.setattr(auto, "capacity", lambda _: there)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    found = plan.plan_training(config("auto"))
    assert found.request.preset == auto.choose_preset(config("auto"))[0] == "730m"
    assert found.chosen is None and "--preset small" in plan.refusal(found)


def test_auto_does_not_hang_on_how_the_batch_is_cut(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    machine(24, 24, 24, host_gib=64)
    assert auto.choose_preset(config("auto"))[0] == "730m"
    machine(24, 24, 24, 24, host_gib=64)  # of which one process may take one
    assert auto.choose_preset(config("auto", **{"training.micro_batch_size": 32}))[0] == "730m"


def test_doctor_tells_of_a_batch_that_the_gpus_cannot_share(machine: Any) -> None:
    machine(24, 24, 24, host_gib=64)
    found = doctor._plan(config("tiny"))
    assert found.required and not found.ok and "3 processes" in found.found


def test_without_a_gpu_auto_is_the_smallest(machine: Any) -> None:
    machine(host_gib=512)
    assert auto.choose_preset(Config())[0] == "tiny"
    assert plan.plan_training(Config()).request.preset == "tiny"


def test_the_plan_as_a_table_and_as_json(machine: Any, tmp_path: Path) -> None:
    machine(8, host_gib=32)
    found = plan.plan_training(config("730m"), situations=10_000)
    table = plan.as_table(config("730m"), found, situations=10_000)
    assert sum("←" in line for line in table.splitlines()) == 1
    assert "ZeRO-2, optimizer offload" in next(line for line in table.splitlines() if "←" in line)
    assert '"strategy": "zero2"' in plan.as_json(found)


def test_as_many_trials_at_a_time_as_memory_holds(machine: Any) -> None:
    machine(host_gib=26)
    count, settled = strategy.workers_that_fit(config("730m", **{"training.precision": "no"}), DATASET)(5)
    assert count == 2
    assert settled.training.micro_batch_size == 32
    assert strategy.workers_that_fit(config("tiny"), DATASET)(5)[0] == 5
    machine(host_gib=6)
    with pytest.raises(OutOfMemory, match="--preset small"):
        strategy.workers_that_fit(config("730m"), DATASET)(5)
    machine(20, 20, host_gib=128)
    assert strategy.workers_that_fit(config("730m"), DATASET)(2)[0] == 2
    assert strategy.workers_that_fit(config("730m"), DATASET)(4)[0] == 2  # two of them on one card would not fit


def test_a_training_that_is_finished_is_not_refused(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(8, host_gib=4)  # what other programs leave is too little for another one
    found, reached = Machine((Gpu("card", GIB, GIB, (9, 0)),), 4 * GIB, 8, GIB), []
    monkeypatch.setattr(stages, "train", lambda *_, **__: reached.append("train"))
    for is_trained, force in ((True, False), (True, True), (False, False)):
        monkeypatch.setattr(stages, "is_trained", lambda *_, told=is_trained: told)
        with contextlib.suppress(OutOfMemory):
            run._train(config("730m"), DATASET, found, HERE, force=force, should_stop=lambda: False)
            reached.append(f"{is_trained} {force}")
    assert reached == ["train", "True False"]


def test_what_lies_finished_is_looked_at_though_nothing_fits(
    machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one plain process, which says that it is done, or refuses what is asked for in its stead."""
    machine(host_gib=4)
    asked = config("730m", output=str(tmp_path))
    with pytest.raises(OutOfMemory, match="730m"):
        launching._plan(asked)
    monkeypatch.setattr("redheart.training.run_folder.read_run", lambda _: SimpleNamespace(finished=True))
    assert launching._plan(asked) is None


def test_on_several_nodes_the_launch_file_is_told_of_them(machine: Any) -> None:
    machine(host_gib=64)
    found = plan.plan_training(config("730m"), gpus=8, gpu_bytes=80 * GIB, nodes=2)
    assert "launch/zero2.yaml --num_machines 2 --num_processes 16" in plan.reason(found)


def test_a_plan_that_refuses_says_so_on_standard_error_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["plan", "--preset", "730m", "--gpus", "1", "--gpu-memory", "2GiB", "--host-memory", "4GiB", "--lang", "en"]
    for more in ([], ["--json"]):
        assert main([*typed, *more]) == OutOfMemory.exit_code
        said = capsys.readouterr()
        (line,) = said.err.strip().splitlines()
        assert "730m" in line and "--preset small" in line
        assert "lacks" in said.out and "←" not in said.out

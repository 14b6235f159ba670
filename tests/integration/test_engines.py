"""Plain, data parallel and ZeRO: the same numbers; states, checkpoints and failures of several processes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.cpp_extension import _get_build_directory

from redheart.batches.order import epoch_order, global_batches
from redheart.batches.table import SituationTable
from redheart.checkpoint import find_start, list_epochs, load_modules, read_manifest
from redheart.checkpoint.restore import restore_model
from redheart.config import load_config
from redheart.engine.deepspeed_config import fill_deepspeed_config
from redheart.engine.factory import make_engine
from redheart.errors import ConfigError
from redheart.storage import read_json, read_lines
from redheart.tasks import TASKS
from redheart.workflow.consolidate import consolidate
from tests.integration.launched import loss_on_choose, steps_with_drops
from tests.integration.launching import CUT, LEARNING_RATE, OVERRIDES, PROJECT, launch, launched, run_unless_silent
from tests.training import fixed_dropout
from tests.training.planted import ALL_AT_ONCE
from tests.training.runs import assert_same_but_few, furthest, make_loop, metrics, same_bits, train, weights
from tests.training.small_data import write_embedded

AVERAGED = ["training.ema_decay=0.5", "training.label_smoothing=0.1"]
#: All options that change training; dropout, which R-Drop needs, is replaced by one that any cut draws alike.
EVERYTHING = [*AVERAGED, "training.r_drop=1.0", "model.dropout=0.1", "training.layer_lr_decay=0.95"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_embedded(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    """What DeepSpeed compiles at its first use, silently and for minutes where others are at work: before anything else."""
    program = (
        "import json, os; os.environ['DS_ACCELERATOR'] = 'cpu'\n"
        "from redheart.engine.deepspeed_extensions import load_extensions\n"
        "load_extensions(json.load(open('ds_configs/zero2_offload.json')), on_cuda=False)"
    )
    done = run_unless_silent([sys.executable, "-c", program], environment=dict(os.environ), silence=500.0)
    assert done.returncode == 0, done.stderr


def one_process(dataset: Path, output: Path, *own: str) -> Path:
    """One process, nothing cut: what several are compared with."""
    with pytest.MonkeyPatch.context() as patch:
        if "training.r_drop=1.0" in own:
            patch.setattr(torch.nn.Dropout, "forward", fixed_dropout.forward)
        train(dataset, output, load_config(None, [*OVERRIDES, *own]), learning_rate=LEARNING_RATE)
    return output


def with_stale_locks(folder: Path) -> Path:
    """PyTorch's extensions as they are built here, if they are, each with the lock of a process that was killed at it."""
    found = Path(_get_build_directory("cpu_adam", verbose=False)).parent
    for name in ("cpu_adam", "deepspeed_shm_comm"):
        if (found / name).is_dir():
            shutil.copytree(found / name, folder / name)
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "lock").touch()
    return folder


def assert_equals_plain(output: Path, plain: Path) -> None:
    """Losses, gradient norms and weights of both epochs; and that it was not one process that did it."""
    start = read_lines(output / "metrics.jsonl")[0]
    assert start["world_size"] == 2
    for line, expected in zip(metrics(output), metrics(plain), strict=True):
        assert line["global_step"] == expected["global_step"] and line["updates"] == expected["updates"] == 2
        assert line["train"]["loss"] == pytest.approx(expected["train"]["loss"], rel=1e-4)
        assert line["choose"]["loss"] == pytest.approx(expected["choose"]["loss"], rel=1e-4)
        assert line["choose"]["count"] == expected["choose"]["count"]
        assert line["learning_rate"] == expected["learning_rate"]
        assert line["gradient"]["total_norm_mean"] == pytest.approx(expected["gradient"]["total_norm_mean"], rel=1e-3)
        for module, entry in line["update"]["modules"].items():
            assert entry["relative"] == pytest.approx(expected["update"]["modules"][module]["relative"], rel=0.02)
        for name, value in expected["train"]["terms"].items():
            assert line["train"]["terms"][name] == pytest.approx(value, rel=1e-4, abs=1e-6)
    before, expected_before = find_start(output), find_start(plain)
    assert before is not None and expected_before is not None
    read_manifest(before.path)
    assert start["choose"]["loss"] == pytest.approx(read_lines(plain / "metrics.jsonl")[0]["choose"]["loss"], rel=1e-4)
    assert same_bits(load_modules(before.path), load_modules(expected_before.path)), "solved alike, and gathered whole"
    for epoch in (1, 2):
        assert_same_but_few(weights(output, epoch), weights(plain, epoch))
    assert furthest(weights(plain, 1), weights(plain, 2)) > 5e-4, "there was training to compare"


@pytest.mark.slow
def test_data_parallel_with_accumulation_equals_one_process(dataset, tmp_path):
    plain, output = one_process(dataset, tmp_path / "plain", *AVERAGED), tmp_path / "out"
    done = launch(
        "multi_cpu",
        "-m",
        "redheart",
        "train",
        "--data",
        str(dataset),
        "--output",
        str(output),
        "--preset",
        "tiny",
        "--lr",
        str(LEARNING_RATE),
        *CUT,
        *AVERAGED,
    )
    assert done.returncode == 0, done.stderr
    assert "micro 6 × accumulation 2 × processes 2 = global 24" in done.stderr
    assert done.stderr.count("Epoch 1/2") == 1, "one process speaks"
    assert read_json(output / "run.json")["engine"] == "plain"
    assert_equals_plain(output, plain)


@pytest.mark.slow
def test_zero3_with_offload_stopped_and_resumed_equals_one_process(dataset, tmp_path):
    """One run with every option, asked on its second process to stop in the second epoch, gone on with; then consolidated."""
    plain, output = one_process(dataset, tmp_path / "plain", *EVERYTHING), tmp_path / "out"
    order = {"overrides": [*CUT, *EVERYTHING], "fixed_dropout": True}
    # Asked before the start's one batch of evaluation; then after the first of two steps, before the epoch's one batch of
    # evaluation, at its end.
    extensions = with_stale_locks(tmp_path / "extensions")
    environment = {"TORCH_EXTENSIONS_DIR": str(extensions)}
    done = launched("zero3_offload", "train", dataset, output, stop_at=5, environment=environment, **order)
    assert read_json(output / "run.json")["finished"] is False, done.stderr
    for name in ("cpu_adam", "deepspeed_shm_comm"):
        lock = extensions / name / "lock"
        assert done.stderr.count(f"⚠️ {lock}") == 1 and not lock.exists()
    assert [one.epoch for one in list_epochs(output)] == [1]
    states = sorted((output / "checkpoints" / "resume").glob("state_*"))
    assert read_json(states[-1] / "manifest.json")["cursor"]["batches_done"] == 1

    done = launched("zero3_offload", "train", dataset, output, **order)
    assert done.returncode == 0, done.stderr
    assert read_json(output / "run.json")["engine"] == "zero3" and read_json(output / "run.json")["finished"]
    assert_equals_plain(output, plain)
    assert all(metrics(output)[-1]["train"]["terms"][f"r_drop.{task.name}"] > 0 for task in TASKS)

    last = list_epochs(output, verify=True)[-1]
    restored = {name: tensor for name, tensor in restore_model(last.path).state_dict().items()}
    assert_same_but_few(restored, weights(plain))
    whole = consolidate(output)
    assert same_bits(dict(restore_model(whole).state_dict()), restored), "the shards hold what the checkpoint holds"

    with pytest.raises(ConfigError, match="zero3 with 2 processes"):
        run = output / "run.json"
        run.write_text(run.read_text().replace('"finished": true', '"finished": false'))
        train(dataset, output, load_config(None, [*OVERRIDES, *EVERYTHING]), learning_rate=LEARNING_RATE)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero2_offload", "zero3"])
def test_dropped_gradients_leave_no_trace_and_a_dry_run_changes_no_bit(dataset, tmp_path, strategy):
    """Nor does the exchange with the average of the weights; and layers learn at their own rates, as in one process."""
    state = tmp_path / "state.safetensors"
    output = tmp_path / "out"
    own = ["training.ema_decay=0.5", "training.layer_lr_decay=0.9"]
    content = json.loads((PROJECT / "ds_configs" / f"{strategy}.json").read_text())
    if strategy == "zero3":  # or all of so small a model would stay gathered
        content["zero_optimization"]["stage3_param_persistence_threshold"] = 5000
    (tmp_path / "ds.json").write_text(json.dumps(content))
    order = {"state": str(state), "ds_config": str(tmp_path / "ds.json"), "overrides": [*CUT, *own]}
    done = launched(strategy, "probe", dataset, output, **order)
    assert done.returncode == 0, done.stderr
    found = read_json(state.with_suffix(".json"))
    assert found["kind"] == strategy[:5] and found["updated"] == [True, False, True]

    loop = make_loop(load_config(None, [*OVERRIDES, *own]), SituationTable.open(dataset), LEARNING_RATE)
    initial = loop.engine.full_state_dict()
    batches = [loop.train[start : start + 16] for start in (16, 30)]
    loop.engine.set_learning_rate(loop.peak)
    for batch in batches:
        loop._accumulate(batch)
        loop.engine.step()
        loop.average.update()
    expected = loop.engine.full_state_dict()
    assert furthest(load_file(str(state)), expected) < 1e-4
    assert furthest(initial, expected) > 1e-3
    assert found["rates"] == sorted({group["lr"] for group in loop.engine.optimizer.param_groups})
    assert len(found["rates"]) > 5
    dropped = make_loop(load_config(None, [*OVERRIDES, *own]), SituationTable.open(dataset), LEARNING_RATE)
    assert steps_with_drops(dropped) == [True, False, True]
    assert same_bits(dropped.engine.full_state_dict(), expected), "so it is in the plain engine"

    losses = [loss_on_choose(loop)]
    with loop.evaluated_weights():
        averaged = loop.engine.full_state_dict()
        losses.append(loss_on_choose(loop))
    assert furthest(averaged, expected) > 1e-4 and abs(losses[0] - losses[1]) > 1e-4
    assert furthest(load_file(f"{state}.averaged"), averaged) < 1e-4
    assert found["losses"] == pytest.approx([*losses, losses[0]], rel=1e-4), (
        "by forward passes, before, while and after"
    )
    assert found["came back"] and found["losses"][2] == found["losses"][0]
    total = sum(parameter.numel() for parameter in loop.engine.unwrapped.parameters())
    assert sum(found["held"]) == total and max(found["held"]) < 0.55 * total, "each holds its share and no more"

    assert [line["updates"] for line in metrics(output)] == [0, 0]
    for epoch in (1, 2):
        assert same_bits(weights(output, epoch), initial)


@pytest.mark.slow
def test_checkpointed_blocks_change_no_bit_under_zero3(dataset, tmp_path):
    """With dropout, and with even the smallest weights gathered anew for the second computation, as large ones are."""
    settings = json.loads((PROJECT / "ds_configs" / "zero3.json").read_text())
    settings["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    (tmp_path / "mine.json").write_text(json.dumps(settings))
    launcher = (PROJECT / "launch" / "zero3.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(launcher.replace("ds_configs/zero3.json", str(tmp_path / "mine.json")))
    report = tmp_path / "report.json"
    overrides = [*CUT, "model.dropout=0.1"]
    done = launched(
        str(tmp_path / "mine.yaml"), "recompute", dataset, tmp_path / "out", state=str(report), overrides=overrides
    )
    assert done.returncode == 0, done.stderr
    found = read_json(report)
    assert found["same"] == found["tensors"] > 150
    assert found["calls"] == [4, 8], "two steps of two pieces, each computed once, or twice"


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero2", "zero3_offload"])
def test_the_dead_are_found_and_losses_that_are_no_number_stop_every_process_alike(dataset, tmp_path, strategy):
    """Each kind of dead tensor, by name and fault, through DeepSpeed's accessors; then NaN on one process of two."""
    output, said = tmp_path / "out", tmp_path / "said"
    done = launched(strategy, "faults", dataset, output, said=str(said), healthy=2)  # steps: an epoch
    assert done.returncode == 0, done.stderr
    first, second = (read_json(Path(f"{said}.{rank}")) for rank in (0, 1))
    assert first == second
    assert {name: tuple(faults) for name, faults in first["dead"].items()} == ALL_AT_ONCE.dead
    assert {name: list(rows) for name, rows in first["rows"].items()} == {
        name: list(rows) for name, rows in ALL_AT_ONCE.rows.items()
    }
    for name in (*ALL_AT_ONCE.dead, *ALL_AT_ONCE.rows):
        assert name in first["strict"] and f"Dead tensor: {name} (module " in done.stderr
    assert "2 steps in a row had a loss or gradient that is not finite" in first["nonfinite"]
    assert f"the last good checkpoint is {output / 'spoiled' / 'checkpoints' / 'epoch_0001'}" in first["nonfinite"]
    assert "backbone.kind.weight: found [5, 96], wanted [4, 96]" in first["older"] and first["stopped"] == 130
    table = SituationTable.open(dataset)
    order = epoch_order(table.split_indices["train"], seed=0, epoch=2)
    for number, batch in enumerate(global_batches(order, 24), start=1):
        ids = ", ".join(table.ids[position] for position in batch)
        assert f"Epoch 2, batch {number}: loss or gradient not finite, step skipped. Situations: {ids}\n" in done.stderr


@pytest.mark.slow
def test_one_process_that_fails_ends_the_group_with_its_error_shown(dataset, tmp_path):
    command = ["train", "--data", str(dataset), "--output", str(tmp_path / "out"), "--lr", str(LEARNING_RATE), *CUT]
    done = launched("multi_cpu", "fail", dataset, tmp_path / "order", command=command)
    assert done.returncode != 0
    assert "out of memory on process 1" in done.stderr and "training.micro_batch_size=3" in done.stderr
    (event,) = read_json(tmp_path / "out" / "oom_stats" / "oom_stats.json")["events"]
    assert event["smaller_micro_batch_size"] == 3


class TestDeepSpeedConfig:
    @pytest.fixture
    def config_file(self, tmp_path, monkeypatch):
        """A copy of a strategy, with changes, named as the launcher names it."""

        def make(**changes: Any) -> Path:
            content = json.loads((PROJECT / "ds_configs" / "zero3_offload.json").read_text())
            path = tmp_path / "mine.json"
            path.write_text(json.dumps({**content, **changes}))
            monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
            monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(path))
            return path

        return make

    @pytest.mark.parametrize(
        "changes, ours",
        [
            ({"train_micro_batch_size_per_gpu": 4}, 24),
            ({"gradient_accumulation_steps": 8}, 1),
            ({"gradient_clipping": 0.5}, 1.0),
            ({"bf16": {"enabled": True}}, False),
        ],
    )
    def test_a_literal_that_contradicts_ours_is_an_error_that_names_both(self, config_file, changes, ours):
        path = config_file(**changes)
        key, theirs = next(iter(changes.items()))
        theirs = theirs["enabled"] if isinstance(theirs, dict) else theirs
        with pytest.raises(ConfigError) as found:
            make_engine(load_config(None, OVERRIDES))
        for part in (str(path), key, repr(theirs), repr(ours)):
            assert part in str(found.value)

    def test_a_literal_that_agrees_is_fine_and_auto_is_filled(self, config_file):
        path = config_file(train_batch_size=16)
        filled = fill_deepspeed_config(path, {"train_batch_size": 16, "gradient_clipping": 1.0, "bf16.enabled": False})
        assert (filled["train_batch_size"], filled["gradient_clipping"]) == (16, 1.0)
        assert filled["bf16"] == {"enabled": False}

    def test_a_file_that_is_not_there_is_named(self, monkeypatch):
        monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
        monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", "ds_configs/none.json")
        with pytest.raises(ConfigError, match=r"ds_configs/none\.json"):
            make_engine(load_config(None, OVERRIDES))

    @pytest.mark.parametrize("path", sorted((PROJECT / "ds_configs").glob("*.json")), ids=lambda path: path.stem)
    def test_what_is_ours_is_auto_in_every_strategy(self, path):
        content = json.loads(path.read_text())
        for key in (
            "train_micro_batch_size_per_gpu",
            "gradient_accumulation_steps",
            "train_batch_size",
            "gradient_clipping",
        ):
            assert content[key] == "auto"
        assert content["bf16"]["enabled"] == content["fp16"]["enabled"] == "auto"
        assert (PROJECT / "launch" / f"{path.stem}.yaml").read_text().count(f"ds_configs/{path.name}") == 2

"""Whole trainings in several processes: the same numbers as in one, stopped, gone on with and consolidated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.cpp_extension import _get_build_directory

from redheart.checkpoint import find_start, list_epochs, load_modules, read_manifest
from redheart.checkpoint.restore import restore_model
from redheart.config import load_config
from redheart.embedding import open_embedded
from redheart.engine.factory import make_engine
from redheart.engine.zero.config import fill_deepspeed_config
from redheart.errors import ConfigError
from redheart.storage import read_json, read_lines
from redheart.tasks import TASKS
from redheart.workflow import stages
from redheart.workflow.consolidate import consolidate
from tests.integration.launching import CUT, LEARNING_RATE, OVERRIDES, PROJECT, compile_extensions, launch, launched
from tests.training import fixed_dropout
from tests.training.runs import assert_same_but_few, furthest, metrics, same_bits, train, weights
from tests.training.small_data import write_embedded

AVERAGED = ["training.ema_decay=0.5", "training.label_smoothing=0.1"]
#: All options that change training; dropout, which R-Drop needs, is replaced by one that any cut draws alike.
EVERYTHING = [*AVERAGED, "training.r_drop=1.0", "model.dropout=0.1", "training.layer_lr_decay=0.95"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_embedded(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    compile_extensions()


def one_process(dataset: Path, output: Path, *own: str) -> Path:
    """One process, nothing cut: what several are compared with."""
    with pytest.MonkeyPatch.context() as patch:
        if "training.r_drop=1.0" in own:
            patch.setattr(torch.nn.Dropout, "forward", fixed_dropout.forward)
        train(dataset, output, load_config(None, [*OVERRIDES, *own]), learning_rate=LEARNING_RATE)
    return output


def with_stale_lock(folder: Path) -> Path:
    """PyTorch's extension as it is built here, if it is, with the lock of a process that was killed at it."""
    found = Path(_get_build_directory("cpu_adam", verbose=False))
    if found.is_dir():
        shutil.copytree(found, folder / "cpu_adam")
    (folder / "cpu_adam").mkdir(parents=True, exist_ok=True)
    (folder / "cpu_adam" / "lock").touch()
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
    extensions = with_stale_lock(tmp_path / "extensions")
    environment = {"TORCH_EXTENSIONS_DIR": str(extensions)}
    done = launched("zero3_offload", "train", dataset, output, stop_at=5, environment=environment, **order)
    assert read_json(output / "run.json")["finished"] is False, done.stderr
    lock = extensions / "cpu_adam" / "lock"
    assert done.stderr.count(f"⚠️ {lock}") == 1 and not lock.exists()
    assert [one.name for one in extensions.iterdir() if one.is_dir()] == ["cpu_adam"], "nothing else is compiled"
    assert [one.epoch for one in list_epochs(output)] == [1]
    states = sorted((output / "checkpoints" / "resume").glob("state_*"))
    assert read_json(states[-1] / "manifest.json")["cursor"]["batches_done"] == 1
    elsewhere = Path(shutil.copytree(output, tmp_path / "elsewhere"))
    assert_the_rest_in_one_process_is_the_same(elsewhere, plain, dataset)

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


def assert_the_rest_in_one_process_is_the_same(output: Path, plain: Path, dataset: Path) -> None:
    """A run that two processes under ZeRO-3 left, gone on with by a plain one; then its sweet spots and its crossover."""
    one_process(dataset, output, *EVERYTHING)
    assert read_json(output / "run.json")["engine"] == "plain" and read_json(output / "run.json")["finished"]
    assert_equals_plain(output, plain)
    config = load_config(None, [*OVERRIDES, *EVERYTHING, f"output={output}"])
    stages.analyze(config)
    stages.crossover(config, open_embedded(dataset))
    assert restore_model(output / "best_model") is not None


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

"""Before DeepSpeed compiles without a word, it is known what is still to be built."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest
import torch

from redheart.engine import launch
from redheart.engine.zero.extensions import extensions_to_build, own_ninja_first, provide_extensions

OFFLOADED = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}


@pytest.mark.parametrize(
    "config, expected",
    [
        (OFFLOADED, ["cpu_adam"]),
        ({"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "none"}}}, []),
        ({"zero_optimization": {"stage": 3}}, []),
        ({}, []),
    ],
)
def test_what_a_strategy_uses_is_named_until_it_has_been_built(tmp_path, monkeypatch, config, expected):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert extensions_to_build(config) == expected
    (tmp_path / "cpu_adam").mkdir(exist_ok=True)
    (tmp_path / "cpu_adam" / "cpu_adam.so").touch()
    assert extensions_to_build(config) == []


def test_what_deepspeed_would_build_for_inference_alone_is_not_built(tmp_path, monkeypatch):
    pytest.importorskip("deepspeed")
    if torch.cuda.is_available():
        pytest.skip("it is for machines without a GPU")
    from deepspeed.comm.torch import build_shm_op
    from deepspeed.ops import __compatible_ops__

    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setitem(__compatible_ops__, "deepspeed_shm_comm", True)
    provide_extensions({"zero_optimization": {"stage": 2}})
    assert build_shm_op() is None and not any(tmp_path.iterdir())


def test_the_ninja_of_this_python_is_taken_before_another_and_the_path_is_as_before_afterwards(tmp_path, monkeypatch):
    ninja = pytest.importorskip("ninja")
    other = tmp_path / "ninja"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError), own_ninja_first():
        assert Path(shutil.which("ninja") or "").parent == Path(ninja.BIN_DIR)
        raise RuntimeError
    assert os.environ["PATH"] == str(tmp_path) and shutil.which("ninja") == str(other)


@pytest.mark.parametrize("strategy, expected", [("zero2", ["extensions", "group"]), (None, ["group"])])
def test_a_command_builds_under_our_lock_before_deepspeed_makes_a_group_and_builds_without(
    monkeypatch, strategy, expected
):
    """The command line makes the group before the engine does, to wait for the first process."""
    accelerate = pytest.importorskip("accelerate")
    done: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", str(strategy is not None).lower())
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", f"ds_configs/{strategy}.json")
    monkeypatch.setattr(launch, "provide_extensions", lambda config: done.append("extensions"))

    class Group:
        def __init__(self, **settings):
            done.append("group")

        main_process_first = contextlib.nullcontext

    monkeypatch.setattr(accelerate, "PartialState", Group)
    with launch.wait_for_first_process():
        assert done == expected

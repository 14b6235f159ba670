"""Before DeepSpeed compiles without a word, it is known what is still to be built."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from redheart.engine.deepspeed_extensions import extensions_to_build, own_ninja_first

OFFLOADED = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}


@pytest.mark.parametrize(
    "config, on_cuda, expected",
    [
        (OFFLOADED, False, ["cpu_adam", "deepspeed_shm_comm"]),
        (OFFLOADED, True, ["cpu_adam"]),
        ({"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "none"}}}, True, []),
        ({"zero_optimization": {"stage": 3}}, True, []),
        ({}, False, ["deepspeed_shm_comm"]),
    ],
)
def test_what_a_strategy_uses_is_named_until_it_has_been_built(tmp_path, monkeypatch, config, on_cuda, expected):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert extensions_to_build(config, on_cuda=on_cuda) == expected
    for name in ("cpu_adam", "deepspeed_shm_comm"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / f"{name}.so").touch()
    assert extensions_to_build(config, on_cuda=on_cuda) == []


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

"""Before DeepSpeed compiles without a word, it is known what is still to be built."""

from __future__ import annotations

import pytest

from redheart.training.deepspeed_extensions import extensions_to_build

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
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.so").touch()
    assert extensions_to_build(config, on_cuda=on_cuda) == []

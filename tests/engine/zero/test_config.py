"""Sizes of what ZeRO has in flight, as they come into DeepSpeed's configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redheart.engine.zero.config import check_filled, check_stage, fill_deepspeed_config
from redheart.errors import ConfigError
from redheart.plan.launch_files import files
from redheart.plan.zero_sizes import zero_sizes


def test_a_size_is_filled_in_where_it_is_open_and_a_number_stands(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    zero = {"stage": 3, "reduce_bucket_size": "auto", "stage3_max_live_parameters": 7}
    path.write_text(json.dumps({"zero_optimization": zero}))
    sizes = zero_sizes(on_gpu=False)
    filled = fill_deepspeed_config(path, {}, sizes.by_key())
    assert filled["zero_optimization"] == {**zero, "reduce_bucket_size": sizes.bucket}


@pytest.mark.parametrize(
    ("section", "content", "instead"),
    [
        ("scheduler", {"type": "WarmupLR", "params": {"warmup_max_lr": 0.1}}, "training.schedule"),
        ("optimizer", {"type": "AdamW", "params": {"lr": "auto"}}, "training.learning_rate"),
        ("amp", {"enabled": True}, "training.precision"),
    ],
)
def test_a_section_that_would_not_be_followed_is_refused(
    tmp_path: Path, section: str, content: dict[str, object], instead: str
) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}, section: content}))
    with pytest.raises(ConfigError, match=rf"own.json: found a section '{section}'.*{instead}"):
        fill_deepspeed_config(path, {})


def test_what_nobody_fills_in_is_refused_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 3, "offload_param": {"buffer_count": "auto"}}}))
    with pytest.raises(ConfigError, match=r"'zero_optimization\.offload_param\.buffer_count' is \"auto\""):
        check_filled(path, fill_deepspeed_config(path, {}))


@pytest.mark.parametrize("text", ["[]", "3", "null", "{", '"zero"'])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"own\.json"):
        fill_deepspeed_config(path, {})


@pytest.mark.parametrize("path", [one for one in files() if one.endswith(".json")])
def test_our_own_files_are_filled_in_whole(tmp_path: Path, path: str) -> None:
    (tmp_path / "own.json").write_text(files()[path])
    sections = (
        "gradient_clipping",
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
    )
    offload = ("offload_optimizer", "offload_param")
    values: dict[str, int | bool] = dict.fromkeys(sections, 1) | {"bf16.enabled": False, "fp16.enabled": False}
    values |= {f"zero_optimization.{one}.pin_memory": False for one in offload}
    filled = fill_deepspeed_config(tmp_path / "own.json", values, zero_sizes(on_gpu=True).by_key())
    check_filled(tmp_path / "own.json", filled)


def test_zero_1_in_bf16_is_refused_for_zero_2_which_is_the_same_in_less(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 1}, "bf16": {"enabled": "auto"}}))
    check_stage(path, fill_deepspeed_config(path, {"bf16.enabled": False}))
    with pytest.raises(ConfigError, match=r"own\.json: .*stage is 1.*launch/zero2\.yaml"):
        check_stage(path, fill_deepspeed_config(path, {"bf16.enabled": True}))

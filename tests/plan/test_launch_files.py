"""The files in launch/ and ds_configs/: as they are written from the plan, none missing and none beside."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from redheart.plan.launch_files import files
from redheart.plan.strategies import STRATEGIES

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted(files()))
def test_a_file_is_what_the_plan_writes(path: str) -> None:
    there = (PROJECT / path).read_text(encoding="utf-8")
    assert there == files()[path], f"write it anew: python -m redheart.plan.launch_files {PROJECT.name}"


def test_there_is_no_other_file() -> None:
    there = [*(PROJECT / "launch").glob("*.yaml"), *(PROJECT / "ds_configs").glob("*.json")]
    assert {one.relative_to(PROJECT).as_posix() for one in there} == set(files())


@pytest.mark.parametrize("on_gpu", [True, False])
def test_each_strategy_has_a_file_and_each_file_its_deepspeed_configuration(on_gpu: bool) -> None:
    for strategy in STRATEGIES:
        path = strategy.launch_file(on_gpu=on_gpu)
        if path is None:
            assert strategy.kind == "plain"
            continue
        named = yaml.safe_load(files()[path]).get("deepspeed_config", {}).get("deepspeed_config_file")
        assert (named in files()) if strategy.is_sharded else named is None

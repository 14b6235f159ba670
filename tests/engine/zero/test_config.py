"""Sizes of what ZeRO has in flight, as they come into DeepSpeed's configuration."""

from __future__ import annotations

import json
from pathlib import Path

from redheart.engine.zero.config import fill_deepspeed_config
from redheart.plan.zero_sizes import zero_sizes


def test_a_size_is_filled_in_where_it_is_open_and_a_number_stands(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    zero = {"stage": 3, "reduce_bucket_size": "auto", "stage3_max_live_parameters": 7}
    path.write_text(json.dumps({"zero_optimization": zero}))
    sizes = zero_sizes(on_gpu=False)
    filled = fill_deepspeed_config(path, {}, sizes.by_key())
    assert filled["zero_optimization"] == {**zero, "reduce_bucket_size": sizes.bucket}

"""The benchmark of consolidating: its stored result keeps the promises, and it can say that one is not kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.consolidate import GIGABYTES, RESULT, TIMES, Measured, make, summary
from redheart.consolidation import open_source

BARE = Measured(1.0, 1.0, 1.0, 150.0, 200.0)


def _runs(seconds: float, megabytes: float) -> dict[str, list[Measured]]:
    return {
        "ours": [Measured(one, one, one, 150.0 + megabytes, 300.0) for one in (seconds, seconds + 5, seconds - 5)],
        "zero_to_fp32": [Measured(10.0, 20.0, 9.0, 3000.0, 6000.0)] * 3,
    }


@pytest.mark.parametrize(
    ("small", "large", "kept"),
    [
        ((9.0, 20.0), (22.0, 30.0), [True, True, True]),
        ((9.0, 20.0), (22.1, 30.0), [True, False, True]),
        ((9.0, 560.0), (9.0, 601.0), [False, True, True]),
        ((9.0, 20.0), (9.0, 71.0), [True, True, False]),
    ],
)
def test_a_promise_that_is_not_kept_is_told(small, large, kept) -> None:
    told = summary({"small": _runs(*small), "730m": _runs(*large)}, BARE)
    assert list(told["holds"].values()) == kept
    assert told["presets"]["730m"]["times_the_script"] == pytest.approx(large[0] / 20, abs=1e-3), (
        "until it is on the disk"
    )


def test_the_stored_result_is_of_two_sizes_and_keeps_what_is_promised() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    assert list(result["presets"]) == ["small", "730m"] and result["ranks"] == 2
    assert {"date", "device", "versions", "parameters", "bare"} <= result.keys()
    assert all(len(runs[name]) == 5 for runs in result["runs"].values() for name in ("ours", "zero_to_fp32"))
    assert all(result["holds"].values()), (GIGABYTES, TIMES)


def test_the_checkpoint_that_is_measured_is_one_of_this_projects_models(tmp_path: Path) -> None:
    count = make(tmp_path, "tiny")
    source = open_source(tmp_path)
    assert source.what == "DeepSpeed ZeRO-3, 2 processes"
    assert sum(tensor.count for tensor in source.tensors.values()) >= count > 4_000_000

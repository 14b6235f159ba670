"""A probe of tiny: real steps in a process of its own, beside the plan; and one that fails."""

from __future__ import annotations

import pytest

from redheart.config import Config, with_settings
from redheart.errors import TrainingError
from redheart.probe.measure import measure
from redheart.workflow.examinations.plan import plan_training
from redheart.workflow.examinations.plan_measured import as_table, measure_row

TINY = with_settings(Config(), {"model.preset": "tiny", "training.precision": "no", "training.global_batch_size": 8})


def test_a_step_is_as_large_as_planned() -> None:
    plan = plan_training(TINY)
    assert plan.chosen is not None
    compared = measure_row(TINY, plan, plan.chosen)
    pairs = compared.memory
    assert list(pairs) == ["model", "prepared", "step", "save"]
    planned, measured = pairs["step"]
    assert measured == pytest.approx(
        planned, rel=0.25
    )  # what a process takes beside tensors is most of it at this size
    assert compared.step_seconds[1] > 0
    assert len(as_table(compared).splitlines()) == 6


def test_a_probe_that_fails_tells_what_it_said() -> None:
    asked = with_settings(TINY, {"training.precision": "fp16"})
    with pytest.raises(TrainingError, match=r"(?s)exit code 1.*needs a CUDA device"):
        measure(asked, launch_file=None, processes=1, segments=4)

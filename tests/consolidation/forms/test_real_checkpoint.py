"""Checkpoints that DeepSpeed itself wrote in two processes, and what its own script makes of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from redheart.consolidation import convert, open_source
from tests.checkpoint.states import same_bits
from tests.consolidation.forms.real_checkpoint import CASES
from tests.integration.launching import run_unless_silent


@pytest.mark.slow
def test_what_deepspeed_wrote_under_every_stage_becomes_what_its_own_script_makes_of_it(tmp_path: Path) -> None:
    from deepspeed.utils.zero_to_fp32 import (
        convert_zero_checkpoint_to_state_dict,
        get_fp32_state_dict_from_zero_checkpoint,
    )

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.consolidation.forms.real_checkpoint", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    done = run_unless_silent(
        command, environment=environment, silence=400.0
    )  # an extension may have to be compiled first
    assert done.returncode == 0, done.stderr
    for name, (stage, _) in CASES.items():
        theirs = dict(get_fp32_state_dict_from_zero_checkpoint(str(tmp_path / name)))
        found = torch.load(convert(open_source(tmp_path / name), tmp_path / f"{name}.pth").path, weights_only=True)
        assert found.keys() - theirs.keys() == ({"frozen"} if stage == 1 else set()), name
        assert same_bits({one: found[one] for one in theirs}, theirs), name
        convert_zero_checkpoint_to_state_dict(str(tmp_path / name), str(tmp_path / f"{name}_script"))
        scripted = torch.load(tmp_path / f"{name}_script" / "pytorch_model.bin", weights_only=True)
        cast = convert(open_source(tmp_path / name), tmp_path / f"{name}_fp32.pth", dtype="fp32").path
        found = torch.load(cast, weights_only=True)
        assert same_bits({one: found[one] for one in scripted}, scripted), name

"""Memory that tensors leave is the system's again."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEASURED = """
import psutil, torch
from redheart.engine.zero.host_allocator import give_back_what_is_freed, trim
if {asked}:
    give_back_what_is_freed()
raised = torch.ones(7 << 20)  # 28 MiB, mapped and freed: glibc raises to that the size below which it keeps memory
del raised
kept, gone = [], []
for _ in range(20):
    gone.append(torch.ones(4 << 20))
    kept.append(torch.ones(256))
before = psutil.Process().memory_info().rss
gone.clear()
print((before - psutil.Process().memory_info().rss) >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_what_is_freed_goes_back_though_smaller_tensors_lie_between() -> None:
    given_back, kept = (
        int(subprocess.check_output([sys.executable, "-c", MEASURED.format(asked=asked)], text=True))
        for asked in (True, False)
    )
    assert given_back >= 300 > 200 > kept

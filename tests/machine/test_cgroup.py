"""Memory limits of control groups, in folders as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from redheart.machine import inspection
from redheart.machine.cgroup import MemoryLimit, memory_limits

V1 = "30 23 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"
V2 = "29 23 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"


def a_machine(root: Path, *, mountinfo: str, cgroup: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/mountinfo": mountinfo, "proc/self/cgroup": cgroup, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_of_nested_groups_each_limit_counts(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/system.slice/job.scope"
    root = a_machine(
        tmp_path,
        mountinfo=V2,
        cgroup="0::/system.slice/job.scope/step\n",
        files={
            f"{group}/step/memory.max": "max\n",
            f"{group}/step/memory.current": "100\n",
            f"{group}/memory.max": "1000\n",
            f"{group}/memory.current": "700\n",
            f"{group}/memory.stat": "anon 500\ninactive_file 150\n",
            "sys/fs/cgroup/system.slice/memory.max": "5000\n",
            "sys/fs/cgroup/system.slice/memory.current": "4900\n",
        },
    )
    assert [(limit.limit, limit.used, limit.rest) for limit in memory_limits(root)] == [
        (1000, 550, 450),
        (5000, 4900, 100),
    ]


def test_version_1_with_its_sums_over_children(tmp_path: Path) -> None:
    folder = "sys/fs/cgroup/memory/slurm/job_7"
    root = a_machine(
        tmp_path,
        mountinfo=V1,
        cgroup="9:name=systemd:/\n4:memory:/slurm/job_7\n1:cpu,cpuacct:/\n0::/\n",
        files={
            f"{folder}/memory.limit_in_bytes": "2048\n",
            f"{folder}/memory.usage_in_bytes": "1024\n",
            f"{folder}/memory.stat": "inactive_file 1\ntotal_inactive_file 24\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{(1 << 63) - 4096}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "999999\n",
        },
    )
    assert memory_limits(root) == [MemoryLimit(root / folder, 2048, 1000)]


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    root = a_machine(
        tmp_path,
        mountinfo="30 23 0:26 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
        cgroup="4:memory:/docker/abc\n",
        files={
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "96\n",
        },
    )
    assert [limit.rest for limit in memory_limits(root)] == [4000]


def test_a_group_whose_folder_is_not_to_be_seen_is_the_mounts_own(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory.max": "4096\n", "sys/fs/cgroup/memory.current": "96\n"}
    root = a_machine(tmp_path, mountinfo=V2, cgroup="0::/../elsewhere\n", files=files)
    assert [limit.rest for limit in memory_limits(root)] == [4000]


def test_a_mount_whose_name_is_in_another_encoding_hides_no_limit(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory.max": "4096\n", "sys/fs/cgroup/memory.current": "96\n"}
    root = a_machine(tmp_path, mountinfo="", cgroup="0::/\n", files=files)
    other = b"77 23 8:1 / /mnt/\xb5\xa5\x85 rw - ext4 /dev/sda1 rw\n"
    (root / "proc/self/mountinfo").write_bytes(other + V2.encode())
    assert [limit.rest for limit in memory_limits(root)] == [4000]


def test_without_any_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_limits(tmp_path) == []
    assert memory_limits(a_machine(tmp_path, mountinfo=V2, cgroup="0::/\n", files={})) == []


def test_host_memory_is_the_least_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    before = inspection.host_memory()
    monkeypatch.setattr(
        inspection, "memory_limits", lambda: [MemoryLimit(Path("a"), 900, 300), MemoryLimit(Path("b"), 9, 2)]
    )
    assert inspection.host_memory() == 7 < before

"""A write is all or nothing: under kills, on a full disk, and where the folder can't be written."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from redheart.errors import StorageError
from redheart.storage import (
    atomic,
    fingerprint,
    read_json,
    replace_file,
    sha256_of,
    write_bytes,
    write_json,
    write_text,
)
from tests.storage.full_disk import no_file_over
from tests.storage.killed_writer import COPIES

ROOT = Path(__file__).parents[2]


def test_a_file_that_a_killed_writer_was_replacing_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "numbers.txt"
    moments = random.Random(0)
    for _ in range(25):
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.killed_writer", str(target)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(moments.uniform(0, 0.02))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        content = target.read_text()
        assert content == content[0] * COPIES


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    write_json(target, {"old": True})
    with no_file_over(10_000), pytest.raises(StorageError, match="File too large") as raised:
        write_text(target, "x" * 50_000)
    assert str(target) in str(raised.value)
    assert "the previous file, if any, is intact" in str(raised.value)
    assert read_json(target) == {"old": True}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small filesystem needs root")
def test_a_filesystem_without_room_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        target = small / "results.json"
        write_json(target, {"old": True})
        with pytest.raises(StorageError, match="No space left on device"):
            write_text(target, "x" * 100_000)
        assert read_json(target) == {"old": True}
        assert [path.name for path in small.iterdir()] == ["results.json"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_whatever_stops_the_writing_leaves_no_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "table.txt"
    write_text(target, "old")

    def interrupted(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(target, interrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["table.txt"]
    assert target.read_text() == "old"


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match=r"taken/results\.json: could not write"):
        write_json(tmp_path / "taken" / "results.json", {})


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "c.bin", b"\0\1")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"\0\1"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [-float("inf")]}])
def test_what_is_no_json_is_refused_before_anything_is_written(tmp_path: Path, value: object) -> None:
    target = tmp_path / "results.json"
    write_json(target, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(target, value)
    assert read_json(target) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_korean_is_written_as_itself(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"감정": "기쁨"})
    assert "기쁨" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"감정": "기쁨"}


def test_a_damaged_json_file_is_named_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1,\n "b": ')
    with pytest.raises(StorageError, match=r"a\.json: damaged, not valid JSON: .*line 2 column"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(StorageError, match="damaged"):
        read_json(tmp_path / "a.json")
    with pytest.raises(StorageError, match=r"absent\.json: could not read: No such file"):
        read_json(tmp_path / "absent.json")


def test_sha256_is_the_one_that_everyone_computes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("value", "identity"),
    [
        ({}, "01e7b720ff566d53"),
        ({"learning_rate": 5.6e-05, "seed": 0}, "d038de31b2b2bcc9"),
        ({"라벨": ["기쁨", None, True, 1.5]}, "0de7cc12afb95765"),
    ],
)
def test_a_fingerprint_is_the_same_on_every_machine_and_for_ever(value: object, identity: str) -> None:
    # Sweeps and runs on people's disks are found again by these: a change here makes them strangers.
    assert fingerprint(value) == identity


def test_a_fingerprint_knows_values_and_not_their_order() -> None:
    assert fingerprint({"a": 1, "b": (2, 3)}) == fingerprint({"b": [2, 3], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint({"loss": float("nan")})


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_file_may_be_read_by_those_whom_the_umask_lets_whoever_wrote_it(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        replace_file(tmp_path / "weights", lambda temporary: save_file({"a": np.zeros(1)}, temporary))
        write_text(tmp_path / "text", "a")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~mask}


def test_a_file_that_another_thread_makes_meanwhile_has_the_rights_that_the_umask_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot is written while training goes on: nobody's umask is touched where the system tells it."""
    if "Umask:" not in Path("/proc/self/status").read_text():
        pytest.skip("this system does not tell the umask")
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("set for all threads"))
    write_text(tmp_path / "text", "a")


def test_where_the_system_does_not_tell_the_umask_it_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "_UMASK", re.compile(rb"not told"))
    before = os.umask(0o026)
    try:
        write_text(tmp_path / "text", "a")
    finally:
        os.umask(before)
    assert (tmp_path / "text").stat().st_mode & 0o777 == 0o640

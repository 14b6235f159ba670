"""What fitted before is remembered by all that it hangs on, in the user's cache; a file that can't be used is a warning."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec
import pytest

from redheart.plan.remembered import Key, cache_file, recall, remember

KEY = Key(
    preset="small",
    parameters=59_000_000,
    device="card",
    memory=24_000,
    precision="bf16",
    d_embed=384,
    global_batch_size=64,
    processes=1,
    strategy="plain",
    segments=16,
)


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REDHEART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "micro_batches.json"


def size(key: Key = KEY) -> int | None:
    found = recall(key)
    return None if found is None else found[0]


def test_the_last_that_worked_is_known_and_of_another_key_nothing(file: Path) -> None:
    assert size() is None
    remember(KEY, 32)
    remember(KEY, 8)
    assert recall(KEY) == (8, file)
    for field in KEY.__struct_fields__:
        value = getattr(KEY, field)
        other = {field: value + 1 if isinstance(value, int) else f"{value}2"}
        assert size(msgspec.structs.replace(KEY, **other)) is None, field


def test_before_the_data_is_known_the_least_of_all_lengths_counts() -> None:
    remember(KEY, 8)
    remember(msgspec.structs.replace(KEY, segments=4), 16)
    assert size(msgspec.structs.replace(KEY, segments=None)) == 8
    assert size(msgspec.structs.replace(KEY, segments=4)) == 16


@pytest.mark.parametrize("content", ["", "{", "[]", '{"entries": [{"key": 1}]}', '{"entries": 3}', "\x00"])
def test_a_file_that_is_torn_or_anothers_is_a_warning_and_written_anew(
    file: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.parent.mkdir()
    file.write_text(content)
    assert size() is None
    remember(KEY, 4)
    assert size() == 4


def test_a_size_that_is_none_is_not_begun_with(file: Path) -> None:
    remember(KEY, 4)
    file.write_text(file.read_text().replace('"micro_batch_size": 4', '"micro_batch_size": 0'))
    assert size() is None


def test_where_it_can_not_be_kept_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        monkeypatch.setenv("REDHEART_CACHE", str(place))
        remember(KEY, 4)
        assert size() is None
    monkeypatch.setenv("REDHEART_CACHE", str(tmp_path / "folder"))
    (tmp_path / "folder" / "micro_batches.json").mkdir(parents=True)
    remember(KEY, 4)
    assert size() is None


def test_it_lies_where_the_system_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDHEART_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    for base, expected in (
        (str(tmp_path / "x"), tmp_path / "x"),
        ("relative", tmp_path / ".cache"),
        ("", tmp_path / ".cache"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", base)
        assert cache_file() == expected / "redheart" / "micro_batches.json"


def test_trainings_that_end_together_lose_nothing_of_each_others() -> None:
    keys = [msgspec.structs.replace(KEY, memory=number) for number in range(8)]
    threads = [threading.Thread(target=remember, args=(key, 2)) for key in keys]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [size(key) for key in keys] == [2] * 8
    assert not [name for name in os.listdir(cache_file().parent) if name.startswith(".tmp")]

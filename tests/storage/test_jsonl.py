"""An append-only log survives a kill in mid-write and a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from redheart.errors import StorageError
from redheart.storage import append_line, read_json, read_lines
from tests.storage.full_disk import no_file_over


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    log = tmp_path / "new" / "metrics.jsonl"
    assert read_lines(log) == []
    for value in ({"감정": 1}, [2], "three\nlines\r\n"):
        append_line(log, value)
    assert read_lines(log) == [{"감정": 1}, [2], "three\nlines\r\n"]


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(b'{"epoch": 1}\n{"epoch": 2}\n{"epo')
    assert read_lines(log) == [{"epoch": 1}, {"epoch": 2}]


def test_a_torn_last_line_is_cut_before_appending(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(b'{"epoch": 1}\n{"epo')
    append_line(log, {"epoch": 2})
    assert log.read_bytes() == b'{"epoch": 1}\n{"epoch": 2}\n'


def test_a_last_line_that_lacks_only_its_end_is_torn_too(tmp_path: Path) -> None:
    # Whether it is whole can't be known: 12 may have been about to become 123.
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(b"1\n12")
    assert read_lines(log) == [1]
    append_line(log, 3)
    assert read_lines(log) == [1, 3]


def test_a_log_torn_at_every_byte_keeps_its_earlier_lines_and_can_go_on(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    for epoch in (1, 2):
        append_line(log, {"epoch": epoch, "말": "기쁨"})
    whole = log.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(len(whole)):
        log.write_bytes(whole[:length])
        kept = [{"epoch": 1, "말": "기쁨"}] if length >= first else []
        assert read_lines(log) == kept
        append_line(log, "next")
        assert read_lines(log) == [*kept, "next"]


def test_a_damaged_line_in_the_middle_is_an_error_with_its_number(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(b'{"epoch": 1}\n{"epo{"epoch": 2}\n{"epoch": 3}\n')
    with pytest.raises(StorageError, match=r"metrics\.jsonl: line 2 is damaged"):
        read_lines(log)


def test_a_full_disk_adds_nothing(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    append_line(log, "a" * 3_000)
    before = log.read_bytes()
    with no_file_over(5_000), pytest.raises(StorageError, match=r"metrics\.jsonl: could not append: File too large"):
        append_line(log, "b" * 20_000)
    assert log.read_bytes() == before
    append_line(log, "c")
    assert read_lines(log) == ["a" * 3_000, "c"]


def test_nan_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_line(log, {"loss": float("nan")})
    assert not log.exists()


def test_a_log_that_is_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not read"):
        read_lines(tmp_path)
    with pytest.raises(StorageError, match="could not append"):
        append_line(tmp_path, 1)


@pytest.mark.parametrize("odd", [rb'{"a": "\ud800"}', b"[" * 100_000 + b"]" * 100_000, b"1" * 5000])
def test_what_could_not_be_written_again_is_damaged_in_a_file_and_in_a_line(tmp_path, odd):
    (tmp_path / "x.json").write_bytes(odd)
    with pytest.raises(StorageError, match=r"x\.json: damaged"):
        read_json(tmp_path / "x.json")
    (tmp_path / "x.jsonl").write_bytes(b"{}\n" + odd + b"\n")
    with pytest.raises(StorageError, match=r"x\.jsonl: line 2 is damaged"):
        read_lines(tmp_path / "x.jsonl")

"""Where messages go: standard error and a file, from the first process only."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from redheart.errors import StorageError
from redheart.messages import LOGGER_NAME, debug, info, language, set_language, set_up_logging, warn, warn_even_if_quiet
from redheart.messages.log import plain


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    logger, before = logging.getLogger(LOGGER_NAME), language()
    kept = (logger.handlers[:], logger.level, logger.propagate)
    logger.handlers = []
    set_language("ko")
    yield
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logger.level, logger.propagate = kept
    set_language(before)


def test_messages_go_to_standard_error_and_notes_to_the_file_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(file=tmp_path / "out" / "redheart.log")
    info("embedding.saved")
    warn("training.not_updated", modules="phases", reason="")
    debug("a detail")
    plain("one\ntwo")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "✅ 임베딩이 저장되었습니다",
        "⚠️ 업데이트되지 않은 모듈: phases",
        "   one",
        "   two",
    ]
    written = (tmp_path / "out" / "redheart.log").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in written] == [
        "INFO ✅ 임베딩이 저장되었습니다",
        "WARNING ⚠️ 업데이트되지 않은 모듈: phases",
        "DEBUG a detail",
        "INFO    one",
        "INFO    two",
    ]


def test_only_what_one_process_alone_can_know_is_said_where_it_should_be_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging(quiet=True)
    warn("training.not_updated", modules="phases", reason="")
    assert capsys.readouterr().err == ""
    warn_even_if_quiet("training.not_updated", modules="phases", reason="")
    assert capsys.readouterr().err == "⚠️ 업데이트되지 않은 모듈: phases\n"
    set_up_logging()
    warn_even_if_quiet("training.not_updated", modules="phases", reason="")
    assert capsys.readouterr().err == "⚠️ 업데이트되지 않은 모듈: phases\n"


def test_debug_shows_notes_and_verbose_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(debug=True)
    debug("a detail")
    assert capsys.readouterr().err.endswith(" a detail\n")
    set_up_logging(verbose=True)
    debug("a detail")
    info("embedding.saved")
    line = capsys.readouterr().err
    assert line[2] == line[5] == ":" and line.endswith("✅ 임베딩이 저장되었습니다\n")


def test_other_processes_of_a_run_are_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(file=tmp_path / "redheart.log", quiet=True)
    info("embedding.saved")
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "redheart.log").exists()


def test_setting_up_again_does_not_say_things_twice(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    set_up_logging()
    info("embedding.saved")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_log_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match=r"taken/redheart\.log: could not open the log"):
        set_up_logging(file=tmp_path / "taken" / "redheart.log")

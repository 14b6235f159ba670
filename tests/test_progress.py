"""What takes long says a line at least each minute: done, of how many, rate, time left; nothing where others say enough."""

from __future__ import annotations

import io
import itertools
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from redheart.messages import LOGGER_NAME, info, language, set_language, set_up_logging
from redheart.progress import EVERY, Progress, Ticker, duration, others_speak, rate_in_words


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ticker = Ticker(lambda: self.now, has_thread=False)

    def pass_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.ticker.tick()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Standard error, which is no terminal."""
    logger, before = logging.getLogger(LOGGER_NAME), language()
    kept = (logger.handlers[:], logger.level, logger.propagate)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    set_up_logging()
    set_language("en")
    yield stream
    logger.handlers, logger.level, logger.propagate = kept
    set_language(before)
    assert not logger.filters, "nothing listens when nothing is under way"


def on_a_terminal(said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on: between a fixture and its test pytest sets its own standard error."""
    monkeypatch.setattr(said, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", said)


def test_done_of_how_many_rate_and_time_left_are_said_within_a_minute(clock: Clock, said: io.StringIO) -> None:
    with Progress("embedding", 1000, ticker=clock.ticker) as progress:
        for _ in range(44):
            progress.update(2)
            clock.pass_by(1)
        assert said.getvalue() == ""
        clock.pass_by(1)
        assert said.getvalue() == "⏳ embedding: 88 of 1,000 (9 %), 2.0/s, 0:45 gone, about 7:46 left\n"
        progress.note("loss 0.5")
        clock.pass_by(45)
    assert said.getvalue().splitlines()[1].endswith(" left (loss 0.5)")
    assert EVERY < 60


def test_in_ten_silent_minutes_no_gap_is_a_minute_long(clock: Clock, said: io.StringIO) -> None:
    moments = [clock.now]
    with Progress("solving", ticker=clock.ticker):
        for _ in range(600):
            before = len(said.getvalue())
            clock.pass_by(1)
            if len(said.getvalue()) > before:
                moments.append(clock.now)
    assert max(later - earlier for earlier, later in itertools.pairwise(moments)) < 60
    assert "⏳ solving: at work for 9:45" in said.getvalue()


def test_what_was_done_before_is_no_part_of_the_rate(clock: Clock, said: io.StringIO) -> None:
    with Progress("training", 100, done=50, ticker=clock.ticker) as progress:
        clock.pass_by(45)
        assert "50 of 100 (50 %), –, 0:45 gone, about – left" in said.getvalue()
        progress.update(25)
        clock.pass_by(45)
    assert "75 of 100 (75 %), 16.7/min, 1:30 gone, about 1:30 left" in said.getvalue()


def test_only_the_innermost_speaks(clock: Clock, said: io.StringIO) -> None:
    with Progress("command", ticker=clock.ticker):
        clock.pass_by(30)
        with Progress("stage", 10, ticker=clock.ticker):
            clock.pass_by(15)
        assert said.getvalue().count("\n") == 1 and "⏳ stage: 0 of 10" in said.getvalue()
        clock.pass_by(45)
    assert "⏳ command: at work for 1:30" in said.getvalue()


def test_any_other_line_counts(clock: Clock, said: io.StringIO) -> None:
    with Progress("training", 10, ticker=clock.ticker):
        for _ in range(20):
            clock.pass_by(30)
            info("embedding.saved")
        assert "training" not in said.getvalue()
        logging.getLogger(LOGGER_NAME).debug("not shown")
        clock.pass_by(45)
        assert "⏳ training" in said.getvalue()


def test_nothing_is_said_while_others_speak_nor_by_other_processes(clock: Clock, said: io.StringIO) -> None:
    quiet = others_speak()
    quiet._ticker = clock.ticker
    with Progress("command", ticker=clock.ticker), quiet:
        clock.pass_by(200)
    with Progress("training", 5, is_shown=False, ticker=clock.ticker):
        clock.pass_by(200)
    assert said.getvalue() == ""


def test_one_that_ends_out_of_turn_is_let_go(clock: Clock, said: io.StringIO) -> None:
    first, second = (Progress(name, ticker=clock.ticker) for name in ("first", "second"))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    clock.pass_by(45)
    second.__exit__(None, None, None)
    assert "second" in said.getvalue() and "first" not in said.getvalue()


def test_bytes_are_told_in_megabytes(clock: Clock, said: io.StringIO) -> None:
    with Progress("reading", 2_000_000_000, unit="B", ticker=clock.ticker) as progress:
        progress.update(450_000_000)
        clock.pass_by(45)
    assert "450 MB of 2,000 MB (22 %), 10.0 MB/s" in said.getvalue()


def test_on_a_terminal_a_bar_is_drawn_and_no_line_said(
    clock: Clock, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(said, monkeypatch)
    with Progress("embedding", 10, unit="situation", ticker=clock.ticker) as progress:
        progress.update(3)
        clock.pass_by(90)
    assert "embedding:" in said.getvalue() and "3/10" in said.getvalue() and "⏳" not in said.getvalue()


def test_on_a_terminal_what_has_no_number_is_said_too(
    clock: Clock, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(said, monkeypatch)
    with Progress("loading", ticker=clock.ticker):
        clock.pass_by(45)
    assert "⏳ loading: at work for 0:45" in said.getvalue()


def test_each_thing_gone_over_is_done_when_the_next_is_asked_for(clock: Clock) -> None:
    progress = Progress("tasks", 3, ticker=clock.ticker)
    assert [progress.done for _ in progress.over("abc")] == [0, 1, 2]
    assert progress.done == 3


def test_a_thread_looks_at_the_clock_while_something_is_under_way_and_no_longer(
    said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redheart.progress.EVERY", 0.0)
    monkeypatch.setattr("redheart.progress._LOOKS_EVERY", 0.01)
    spoke = threading.Event()
    ticker = Ticker()
    with Progress("a long call", ticker=ticker) as progress:
        monkeypatch.setattr(progress, "say", spoke.set)
        (thread,) = (one for one in threading.enumerate() if one.name == "progress")
        assert spoke.wait(10)
    thread.join(10)
    assert not thread.is_alive()


def test_durations_and_rates_are_in_units_that_one_reads() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.6, 3723)] == ["0:00", "1:00", "1:02:03"]
    assert [rate_in_words(rate) for rate in (12.34, 0.5, 0.01)] == ["12.3/s", "30.0/min", "36.0/h"]

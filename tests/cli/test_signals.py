"""Signals set a flag and are answered at once; what was there before comes back."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

import redheart.__main__
from redheart.cli.signals import stop_requested
from redheart.messages import language, set_language


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    before = language()
    set_language("en")
    yield
    set_language(before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_asks_for_a_stop_and_interrupts_nothing(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_requested() as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), number)
        assert should_stop()
    assert signal.getsignal(number) is before


def test_a_first_user_signal_that_somebody_else_has_is_left_to_him() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with stop_requested() as should_stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert heard == [signal.SIGUSR1] and not should_stop()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_second_interrupt_stops_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), stop_requested():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def test_the_first_signal_is_answered_at_once_and_the_next_ones_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with stop_requested() as should_stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert "stopping at the next safe place (Ctrl-C once more stops at once)" in capfd.readouterr().err
        os.kill(os.getpid(), signal.SIGTERM)
        assert should_stop() and capfd.readouterr().err == ""


def test_of_several_processes_the_first_answers(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with stop_requested() as should_stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert should_stop() and capfd.readouterr().err == ""


def test_an_interrupt_while_things_are_imported_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "redheart.cli.main", Interrupted("redheart.cli.main"))
    assert redheart.__main__.main() == 130
    assert capsys.readouterr().err == "redheart: interrupted\n"

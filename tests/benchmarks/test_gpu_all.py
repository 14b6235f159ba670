"""What waits for a GPU, in parts: a part's result is merged, what fails is told, and phases count what lies inside them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import benchmarks.gpu_all as gpu_all
from benchmarks.gpu_all import Setting, last_words, stage_seconds
from benchmarks.gpu_all_result import RESULT, Fact, read_result
from benchmarks.training_phases import Watch, host_peak


def test_the_stored_result_keeps_to_its_form_and_names_its_devices() -> None:
    found = read_result(RESULT)
    assert {part.kind for part in found.gpu.values()} <= {"cuda"} and set(found.gpu) <= set(gpu_all.PARTS)
    assert {part.kind for part in found.reduced.values()} <= {"cpu"}
    assert all(part.facts and part.device and part.versions["torch"] for part in found.gpu.values())


def test_parts_are_merged_and_one_that_fails_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def works(setting: Setting) -> Iterator[Fact]:
        assert setting.reduced and setting.preset == "tiny"
        yield Fact("speed", 2.0, "s")

    def fails(setting: Setting) -> Iterator[Fact]:
        yield Fact("before", 1.0, "s")
        setting.run("sh", "-c", "echo it broke; exit 3")

    result = tmp_path / "result.json"
    monkeypatch.setattr(gpu_all, "PARTS", {"fails": fails, "works": works})
    words = ["--reduced", "--result", str(result)]
    assert gpu_all.main([*words, "works"]) == 0
    assert gpu_all.main([*words, "fails"]) == 1
    found = read_result(result)
    assert not found.gpu and not found.reduced["works"].failed
    assert [fact.what for fact in found.reduced["fails"].facts] == ["before", "failed"]
    assert "exit code 3: it broke" in found.reduced["fails"].facts[-1].text
    assert "it broke" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        gpu_all.main([*words, "nonsense"])


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    setting = Setting(reduced=True, folder=tmp_path, encoder="", until=0.0)
    code, _ = setting.run("sh", "-c", f"(setsid sleep 3; touch {tmp_path}/alive) & sleep 60", must_work=False)
    assert code == 124 and not (tmp_path / "alive").exists()


def test_extensions_are_built_once_and_before_a_parts_own_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(reduced=True, folder=tmp_path, encoder="", until=time.monotonic() + 10.0)
    ran: list[tuple[str, ...]] = []

    def slow(*words: str) -> tuple[int, str]:
        assert setting.until - time.monotonic() > 200, "that has a time of its own"
        ran.append(words[1:])
        time.sleep(0.2)
        return 0, ""

    monkeypatch.setattr(setting, "run", slow)
    assert [fact.unit for fact in gpu_all.needing_extensions(setting)] == ["s"]
    assert 9.5 < setting.until - time.monotonic() <= 10.0
    assert not list(gpu_all.needing_extensions(setting))
    assert ran == [("-m", "redheart", "doctor", "build")]


def test_seconds_of_the_stages_are_read_from_the_log() -> None:
    log = "\n".join(
        (
            "2026-11-26 14:00:00,000 INFO begun",
            "── 1/2 Data ──",
            "2026-11-26 14:00:01,500 INFO work",
            "2026-11-26 14:00:04,000 INFO ",
            "── 2/2 Report ──",
            "2026-11-26 14:00:04,250 INFO done",
        )
    )
    assert [(fact.what, fact.value) for fact in stage_seconds(log)] == [
        ("stage 1/2 Data", 4.0),
        ("stage 2/2 Report", 0.25),
    ]


def test_a_logs_last_words_are_its_error_not_what_follows_it() -> None:
    assert last_words("begun\rValueError: no\n[rank0] bye\n") == "ValueError: no"
    assert last_words("") == "no output"


def test_a_phases_peak_is_what_was_held_inside_it_and_is_stored_as_soon_as_it_is_known(tmp_path: Path) -> None:
    if host_peak() is None:
        pytest.skip("this system does not tell a process's peak of memory")
    watch = Watch(tmp_path / "phases.json")
    with watch.phase("outer"):
        with watch.phase("inner"):
            np.ones(64 * 2**20, dtype=np.uint8)
        assert (tmp_path / "phases.json").exists()
    with watch.phase("after"):
        pass
    peaks = {name: phase.host_bytes for name, phase in watch.phases.items()}
    assert None not in peaks.values()
    assert peaks["inner"] == peaks["outer"] > peaks["after"] + 48 * 2**20  # type: ignore[operator]
    assert watch.phases["outer"].seconds >= watch.phases["inner"].seconds > 0

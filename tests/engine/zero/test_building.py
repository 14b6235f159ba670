"""What DeepSpeed would compile inside a job is built ahead, and said; any extension that it loads is guarded."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redheart.cli.main import main
from redheart.engine.zero import building, extensions
from redheart.errors import MissingRequirement
from redheart.launching.command import GroupCommand
from redheart.messages import set_language


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where extensions are looked for; English."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    monkeypatch.setenv("REDHEART_LANG", "en")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    set_language("en")
    yield tmp_path / "extensions"
    set_language("ko")


def built(folder: Path) -> None:
    (folder / "cpu_adam").mkdir(parents=True, exist_ok=True)
    (folder / "cpu_adam" / "cpu_adam.so").touch()


def test_doctor_build_says_what_is_there_and_builds_nothing_of_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built(folder)
    monkeypatch.setattr(building, "load_extensions", lambda _: pytest.fail("it was built"))
    assert main(["doctor", "build"]) == 0
    assert f"cpu_adam: built ahead ({folder / 'cpu_adam'})" in capsys.readouterr().err


def test_doctor_build_builds_the_rest_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("deepspeed")
    monkeypatch.setattr(building, "load_extensions", lambda _: built(folder))
    monkeypatch.setattr(building, "guard_every_extension", lambda: None)
    assert main(["doctor", "build"]) == 0
    said = capsys.readouterr().err
    assert "cpu_adam: not built: will be built now, about 60 s" in said and "are built (cpu_adam)" in said


def test_without_a_compiler_it_is_refused_with_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/ninja" if name == "ninja" else None)
    assert main(["doctor", "build"]) == 3
    assert "wanted a C++ compiler (apt install g++)" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["build", "--batches", "3"], ["built"]])
def test_build_takes_none_of_the_options_of_liveness(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["doctor", *words])
    assert refused.value.code == 2


def test_any_extension_is_loaded_under_the_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("deepspeed")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    from deepspeed.accelerator import get_accelerator

    builder = get_accelerator().create_op_builder("ShareMemCommBuilder")
    owner: Any = next(one for one in type(builder).__mro__ if "jit_load" in vars(one))
    seen: list[bool] = []
    monkeypatch.setattr(owner, "jit_load", lambda self, verbose: seen.append((folder / self.name / "lock").exists()))
    extensions.guard_every_extension()
    extensions.guard_every_extension()
    place = folder / builder.name
    place.mkdir(parents=True)
    (place / "lock").touch()  # of a process that was killed
    builder.jit_load(False)
    assert seen == [False], "once, and the lock is gone"


def test_a_launch_builds_before_its_group_what_that_would_build(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("deepspeed")
    started: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        started.append(command[1:])
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr("redheart.launching.command.subprocess.run", run)
    for plain in (None, "launch/zero2.yaml", "launch/multi_cpu.yaml"):
        GroupCommand.of(["train"], launch_file=plain).build_ahead()
    assert started == []
    offloaded = GroupCommand.of(["train"], launch_file="launch/zero2_offload.yaml")
    with pytest.raises(MissingRequirement, match=r"zero2_offload\.json: wants DeepSpeed's extension cpu_adam"):
        offloaded.build_ahead()
    assert started == [["-m", "redheart", "doctor", "build"]]
    built(folder)
    offloaded.build_ahead()
    assert len(started) == 1

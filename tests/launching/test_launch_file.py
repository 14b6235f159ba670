"""A launch file that is not for this machine, or starts another number than there are, is refused with both places and the cure."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from redheart.cli.main import main
from redheart.errors import ConfigError, OutOfMemory
from redheart.launching import launch_file, rank
from redheart.launching.command import GroupCommand
from redheart.launching.launch_file import LaunchFile, check_devices, check_launch, find_launcher
from redheart.machine import gpus

PLACE = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
StartedBy = Callable[..., None]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in (*PLACE, "WORLD_SIZE", *(name for name in os.environ if name.startswith("ACCELERATE_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def with_gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A machine with so many GPUs."""

    def make(count: int) -> None:
        monkeypatch.setattr("redheart.machine.find_gpus", lambda: (gpus.Gpu("a GPU", 1 << 33, 1 << 33),) * count)

    return make


@pytest.fixture
def started_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StartedBy:
    """This process as one of so many that ``accelerate launch`` started in this folder, with these options."""

    def make(*options: str, size: int = 1) -> None:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        if size > 1:
            for name, value in (PLACE | {"WORLD_SIZE": str(size)}).items():
                monkeypatch.setenv(name, value)
        words = ["python", "-m", "accelerate.commands.launch", *options, "-m", "redheart", "train"]
        words += ["--config_file", "another.yaml", "--num_processes", "7"]  # the program's own
        parent = SimpleNamespace(cmdline=lambda: words, cwd=lambda: str(tmp_path))
        monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(parents=lambda: [parent]))

    return make


@pytest.mark.parametrize(("name", "cure"), [("multi_gpu", "launch/multi_cpu.yaml"), ("single_gpu", "launch/cpu.yaml")])
def test_a_file_for_gpus_is_refused_where_there_is_none(
    name: str, cure: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--launch-file", f"launch/{name}.yaml", "train", "--lang", "en", "--output", "out"]
    assert main(["launch", *words]) == 2
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1
        and f"{name}.yaml: gpu_ids: found " in said
        and f"wanted {cure}, or `redheart launch`" in said
    )
    assert list(tmp_path.iterdir()) == []


def test_files_for_whatever_is_there_are_taken_without_a_gpu() -> None:
    for name in ("cpu", "multi_cpu", "zero1", "zero2", "zero2_offload", "zero3", "zero3_offload"):
        assert GroupCommand.of(["train"], launch_file=f"launch/{name}.yaml").launch_file is not None


def test_more_processes_than_gpus_are_refused_with_both_numbers(with_gpus: Callable[[int], None]) -> None:
    with_gpus(2)
    assert GroupCommand.of(["train"], launch_file="launch/zero2.yaml", processes=2).processes == 2
    with pytest.raises(ConfigError, match=r"zero2\.yaml: 4 processes .* this machine has 2 GPU\(s\).*wanted at most 2"):
        GroupCommand.of(["train"], launch_file="launch/zero2.yaml", processes=4)
    check_devices(Path("mine.yaml"), LaunchFile(use_cpu=True, gpu_ids="all"), 4)


def test_a_process_that_accelerate_started_by_such_a_file_is_refused_before_anything_is_done(
    started_by: StartedBy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("distributed_type: MULTI_GPU\nnum_processes: 2\ngpu_ids: all\n")
    started_by("--config_file", "mine.yaml", size=2)
    assert main(["train", "--lang", "en", "--output", "out"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("redheart train: mine.yaml: gpu_ids: found 'all'") and "launch/multi_cpu.yaml" in said
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("options", "size", "places"),
    [
        (
            ["--config_file", "mine.yaml"],
            1,
            ("mine.yaml: num_processes: found 2", "WORLD_SIZE: not set", "launch/multi_cpu"),
        ),
        (
            ["--config_file=mine.yaml"],
            4,
            ("mine.yaml: num_processes: found 2", "WORLD_SIZE: 4", "unset RANK WORLD_SIZE"),
        ),
        (["--config-file", "mine.yaml", "--num_processes", "3"], 2, ("--num_processes 3", "WORLD_SIZE: 2")),
    ],
)
def test_another_number_of_processes_than_the_launcher_says_is_refused_with_both_places(
    started_by: StartedBy, tmp_path: Path, options: list[str], size: int, places: tuple[str, ...]
) -> None:
    (tmp_path / "mine.yaml").write_text("num_processes: 2\n")
    started_by(*options, size=size)
    with pytest.raises(ConfigError) as found:
        check_launch()
    for place in places:
        assert place in str(found.value)


def test_an_option_for_the_number_wins_over_the_file(started_by: StartedBy, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("num_processes: 2\n")
    started_by("--config_file", "mine.yaml", "--num_processes=3", size=3)
    assert check_launch() is False
    found = find_launcher()
    assert found is not None and found.processes == 3 and found.path == Path("mine.yaml")


@pytest.mark.parametrize("told", ["by the variable", "by the file"])
def test_gpus_are_left_out_where_the_launcher_says_so(
    started_by: StartedBy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    there = (gpus.Gpu("a GPU", 1 << 33, 1 << 33),)
    monkeypatch.setattr(gpus, "_visible_gpus", lambda: () if os.environ["CUDA_VISIBLE_DEVICES"] == "" else there)
    (tmp_path / "mine.yaml").write_text(f"use_cpu: {'true' if told == 'by the file' else 'false'}\n")
    started_by("--config_file", "mine.yaml")
    if told == "by the variable":
        monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert check_launch() is True
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "" and gpus.find_gpus() == ()
    assert check_launch() is False, "said once"


def test_that_gpus_are_left_out_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch_file, "check_launch", lambda: True)
    main(["train", "--data", "none.json", "--lang", "en"])
    assert capsys.readouterr().err.count("GPUs are left out") == 1


def test_a_process_without_accelerate_looks_at_no_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "Process", lambda: pytest.fail("it looked"))
    assert find_launcher() is None


@pytest.mark.parametrize(
    ("error", "kind"), [(OutOfMemory("no room", is_refusal=True), "failed"), (OutOfMemory("no room"), "out_of_memory")]
)
def test_a_refusal_for_want_of_memory_is_not_taken_for_memory_that_ran_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OutOfMemory, kind: str
) -> None:
    monkeypatch.setenv(rank.FOLDER_VARIABLE, str(tmp_path))
    outcome = rank.outcome_of(error)
    assert (outcome.kind, outcome.exit_code) == (kind, 7)

"""What ``redheart launch`` starts: by a launch file, by a number, by what was typed; what does not fit is refused before the start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from redheart.cli.commands import launching as command_line
from redheart.cli.main import main
from redheart.cli.parser import parse_arguments
from redheart.errors import ConfigError, UsageError
from redheart.launching.command import GroupCommand
from redheart.launching.supervisor import Supervisor


@pytest.fixture(autouse=True)
def without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_without_anything_it_is_one_plain_process() -> None:
    found = GroupCommand.of(["train"])
    assert found.line(None) == [sys.executable, "-m", "redheart", "train"] and not found.needs_port


def test_several_plain_processes_are_data_parallel() -> None:
    line = " ".join(GroupCommand.of(["train"], processes=4).line(1234))
    assert "accelerate.commands.launch --multi_gpu" in line
    assert line.endswith("--num_processes 4 --main_process_port 1234 -m redheart train")


def test_a_number_of_processes_wins_over_the_launch_files() -> None:
    for asked, count in ((None, 2), (3, 3)):
        found = GroupCommand.of(["train", "--force"], launch_file="launch/zero2.yaml", processes=asked)
        line = " ".join(found.line(77, overrides=["a.b=1"], is_forced=False))
        assert found.processes == count and f"zero2.yaml --num_processes {count} --main_process_port 77" in line
        assert line.endswith("-m redheart train a.b=1"), "what was forced is not forced again"


def test_a_launch_file_is_found_beside_the_package_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert GroupCommand.of(["train"], launch_file="launch/zero3.yaml").launch_file is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("num_processes: two", "Expected `int`"),
        ("- a list", "wanted an Accelerate configuration"),
        ("a: [", "wanted an Accelerate configuration"),
        ("num_processes: 0", "num_processes: found 0, wanted at least 1"),
        ("num_machines: 2", "num_machines: found 2, wanted 1"),
        ("distributed_type: 'NO'\nnum_processes: 2", "distributed_type 'NO' starts one process, but num_processes: 2"),
    ],
)
def test_a_launch_file_that_can_not_be_is_refused_with_its_name(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as found:
        GroupCommand.of(["train"], launch_file=str(path))
    assert str(found.value).startswith(f"{path}: ") and message in str(found.value)


def test_a_launch_file_that_is_not_there_is_a_mistake_of_the_user() -> None:
    with pytest.raises(UsageError, match=r"--launch-file: found no file 'launch/zero9\.yaml'"):
        GroupCommand.of(["train"], launch_file="launch/zero9.yaml")


def test_more_processes_than_the_file_starts_are_refused() -> None:
    with pytest.raises(ConfigError, match="--processes 2 is asked for"):
        GroupCommand.of(["train"], launch_file="launch/cpu.yaml", processes=2)


def test_what_was_typed_is_handed_on_and_the_supervisors_own_is_not() -> None:
    typed = (
        "launch --processes 2 --launch-file launch/zero2.yaml train --epochs 3 --lr 0.001 --seed 0 --force --strict --data a.json "
        "--output out --restarts 0 training.global_batch_size=24 --lang en seed=0"
    )
    words = command_line._words(parse_arguments(typed.split()))
    assert words[0] == "train"
    again = vars(parse_arguments(words))
    expected = vars(
        parse_arguments(
            ["train", *typed.split()[6:]][:1] + typed.partition(" train ")[2].replace("--restarts 0 ", "").split()
        )
    )
    assert again == expected
    assert again["seed"] == 0 and again["force"] and again["overrides"] == ["training.global_batch_size=24", "seed=0"]


def test_a_place_in_a_group_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    assert main(["launch", "train", "--output", str(tmp_path / "out"), "--lang", "en"]) == 2
    assert "redheart launch starts the processes itself" in capsys.readouterr().err


def test_a_setting_that_can_not_be_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Supervisor, "run", lambda self: pytest.fail("it was begun"))
    assert main(["launch", "train", "training.epochs=none", "--output", str(tmp_path / "out"), "--lang", "en"]) == 2
    assert "training.epochs" in capsys.readouterr().err


def test_what_is_started_may_be_named_or_not_and_another_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("launch train seed=1 --epochs 2", "launch seed=1 --epochs 2", "launch --epochs 2 train seed=1"):
        arguments = parse_arguments(words.split())
        assert (arguments.overrides, arguments.epochs) == (["seed=1"], 2)
    for words, said in (
        ("launch sweep", "sweep"),
        ("launch train train", "train"),
        ("launch train --samples 3", "--samples"),
    ):
        with pytest.raises(SystemExit) as ended:
            parse_arguments(words.split())
        line = capsys.readouterr().err
        assert ended.value.code == 2 and said in line and line.count("\n") == 1


def test_one_plain_process_is_not_told_of_what_it_settles_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[GroupCommand] = []

    class Noting:
        def __init__(self, command: GroupCommand, *_: object, **__: object) -> None:
            started.append(command)

        def run(self) -> None:
            pass

    monkeypatch.setattr("redheart.launching.supervisor.Supervisor", Noting)
    words = ["launch", "train", "--preset", "tiny", "--output", str(tmp_path / "out"), "--lang", "en"]
    assert main(words) == 0
    assert not any("=" in word for word in started[0].arguments), "it would stand in the run's config.yaml"
    monkeypatch.setattr("redheart.workflow.strategy.place_of", lambda plan: ("launch/zero2.yaml", 2))
    assert main(words) == 0
    assert "training.micro_batch_size=32" in started[1].arguments

"""A finished run that lost an epoch's folder or record: trained again it is whole, to the bit, or it says what that takes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from redheart.checkpoint import list_epochs
from redheart.config import Config, load_config
from redheart.paths import OutputPaths
from tests.training.runs import metrics, same_bits, train, weights

#: So few steps that an epoch takes a moment.
SETTINGS = (
    *("training.epochs=2", "training.global_batch_size=47", "training.linear_start=false", "model.preset=tiny"),
    "training.save_every_minutes=0",
)


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(None, list(SETTINGS))


@pytest.fixture(scope="module")
def finished(dataset: Path, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("finished")
    train(dataset, output, config)
    return output


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may take something from."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def lose_the_folder(output: Path, epoch: int) -> None:
    shutil.rmtree(output / "checkpoints" / f"epoch_{epoch:04d}")


def cut_a_file(output: Path, epoch: int) -> None:
    file = output / "checkpoints" / f"epoch_{epoch:04d}" / "phases.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def tear_the_last_line(output: Path, epoch: int) -> None:
    log = output / "metrics.jsonl"
    log.write_bytes(log.read_bytes()[:-100])


@pytest.mark.parametrize("lose", [lose_the_folder, tear_the_last_line])
def test_what_is_lost_of_the_last_epoch_comes_again(
    dataset: Path, config: Config, finished: Path, output: Path, logged: Callable[[], str], lose: Callable[..., None]
) -> None:
    lose(output, 2)
    assert not train(dataset, output, config).skipped
    assert "재개 상태에서 다시 학습합니다" in logged() and "이어서 학습: 에폭 2, 배치 0 " in logged()
    folders = {} if lose is lose_the_folder else {"checkpoint": "checkpoints/epoch_0002.g2"}
    assert metrics(output) == [metrics(finished)[0], metrics(finished)[1] | folders]
    assert [found.epoch for found in list_epochs(output)] == [1, 2]
    assert same_bits(weights(output, 2), weights(finished, 2))
    assert train(dataset, output, config).skipped, "it is whole"


@pytest.mark.parametrize("lose", [lose_the_folder, cut_a_file])
def test_what_no_state_is_early_enough_for_is_said_and_force_brings_it_back(
    dataset: Path, config: Config, finished: Path, output: Path, logged: Callable[[], str], lose: Callable[..., None]
) -> None:
    lose(output, 1)
    log = (output / "metrics.jsonl").read_bytes()
    train(dataset, output, config)
    assert "에폭 1의 체크포인트나 기록이 없거나 손상" in logged() and "--force" in logged()
    assert (output / "metrics.jsonl").read_bytes() == log and [one.epoch for one in list_epochs(output)] == [2]
    if lose is cut_a_file:
        return
    train(dataset, output, config, force=True)
    assert metrics(output) == metrics(finished)
    assert train(dataset, output, config).skipped


def test_a_run_is_named_by_its_own_settings_where_it_kept_them(output: Path, tmp_path: Path) -> None:
    """Other settings would move it out of the way."""
    assert OutputPaths(output).training_command == f"redheart train --config {output}/config.yaml"
    assert OutputPaths(tmp_path / "none").training_command == "redheart train"
    spaced = Path(shutil.copytree(output, tmp_path / "a b"))
    assert OutputPaths(spaced).training_command == f"redheart train --config '{spaced}/config.yaml'"


def test_a_command_names_the_folder_unless_it_is_the_one_that_is_meant_anyway() -> None:
    assert OutputPaths("training").command("analyze --force") == "redheart analyze --force"
    assert OutputPaths(Config().output).command("analyze") == "redheart analyze"
    assert OutputPaths("my runs/a").command("analyze") == "redheart analyze --output 'my runs/a'"

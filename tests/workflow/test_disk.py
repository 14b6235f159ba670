"""The disk that a run will take is foretold by part, counts what is there, and is said before anything begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from redheart.checkpoint import save_epoch
from redheart.config import load_config
from redheart.messages import language, set_language, set_up_logging
from redheart.workflow import disk
from redheart.workflow.disk import bytes_by_part, foretell_disk, is_short_after, say_if_full_after
from tests.checkpoint.states import MANIFEST, a_state

GIB = 2**30


def test_sixty_epochs_of_730m_take_what_was_counted() -> None:
    """Files of such a run, by their sizes: 2.72 GiB an epoch, 8.17 GiB a state."""
    parts = bytes_by_part(load_config(None, ["training.epochs=60"]), 731_200_000, crosses=True)
    assert {name: round(size / GIB, 1) for name, size in parts.items()} == {
        "epochs": 166.2,
        "states": 24.5,
        "models": 8.2,
    }


@pytest.mark.parametrize(
    "settings, crosses, expected",
    [
        (["training.checkpoint_dtype=bf16"], False, {"epochs": 22, "states": 36, "models": 0}),
        (["training.linear_start=false"], False, {"epochs": 40, "states": 36, "models": 0}),
        (["training.no_param_update=true"], True, {"epochs": 40, "states": 36, "models": 12}),
        (["training.ema_decay=0.9"], False, {"epochs": 44, "states": 48, "models": 0}),
    ],
)
def test_each_setting_that_changes_a_part_does(settings: list[str], crosses: bool, expected: dict[str, int]) -> None:
    config = load_config(None, ["training.epochs=10", *settings])
    assert bytes_by_part(config, 1, crosses=crosses) == expected


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Callable[[], str]]:
    before = language()
    set_language("en")
    set_up_logging(file=tmp_path / "said.log")
    file = tmp_path / "said.log"
    yield lambda: file.read_text(encoding="utf-8") if file.exists() else ""
    set_up_logging(quiet=True)
    set_language(before)


def test_too_little_is_said_with_the_parts_and_what_helps_and_what_is_there_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    output = tmp_path / "run"
    (output / "checkpoints" / "epoch_0001").mkdir(parents=True)
    (output / "checkpoints" / "epoch_0001" / "backbone.safetensors").write_bytes(bytes(1_000_000))
    run = output / "run.json"
    run.write_text('{"finished": false}')
    config = load_config(
        None, [f"output={output}", "model.preset=tiny", "training.epochs=10", "training.keep_epochs=all"]
    )
    needed = sum(bytes_by_part(config, disk_parameters(), crosses=True).values()) - 1_000_000
    for free, is_said in ((needed, False), (needed - 1, True)):
        monkeypatch.setattr(disk, "inspect_machine", lambda output, free=free: SimpleNamespace(disk_bytes=free))
        foretell_disk(config, crosses=True)
        assert ("The disk will be full" in said()) == is_said
    assert f"{output} has 0.4 GiB left, and up to 0.4 GiB are needed (checkpoints of 10 epochs 0.2, states" in said()
    assert "training.checkpoint_dtype=bf16 halves" in said()
    assert disk.bytes_there(output) == 1_000_000
    run.write_text('{"finished": true}')
    assert disk.bytes_there(output) == 0, "another run moves it to previous/, on the same disk"


def disk_parameters() -> int:
    from redheart.model.parameters import count_parameters

    return count_parameters("tiny").total


def test_where_all_epochs_have_no_room_it_is_said_that_they_are_thinned_and_where_that_has_none_either_it_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    config = load_config(None, [f"output={tmp_path / 'run'}", "model.preset=tiny", "training.epochs=60"])
    whole, thinned = (
        sum(bytes_by_part(config, disk_parameters(), crosses=True, is_thinned=one).values()) for one in (False, True)
    )
    assert thinned < 0.7 * whole
    for free, expected in ((whole, ""), (whole - 1, "once room runs short"), (thinned - 1, "The disk will be full")):
        before = len(said())
        monkeypatch.setattr(disk, "inspect_machine", lambda output, free=free: SimpleNamespace(disk_bytes=free))
        foretell_disk(config, crosses=True)
        assert expected in said()[before:] and bool(expected) == bool(said()[before:])
    assert "(checkpoints of 60 epochs, thinned by module, 0." in said()
    assert "training.keep_last" in said().partition("The disk will be full")[2]
    asked = load_config(None, [f"output={tmp_path / 'run'}", "model.preset=tiny", "training.keep_epochs=thinned"])
    monkeypatch.setattr(disk, "inspect_machine", lambda output: SimpleNamespace(disk_bytes=thinned))
    before = len(said())
    foretell_disk(asked, crosses=True)
    assert said()[before:] == "", "it was asked for, and there is room"


def test_room_is_short_once_the_epochs_to_come_the_states_and_the_models_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    config = load_config(None, [f"output={output}", "model.preset=tiny", "training.epochs=10"])
    weights = 4 * disk_parameters()
    (output / "checkpoints" / "resume").mkdir(parents=True)
    (output / "checkpoints" / "resume" / "state").write_bytes(bytes(1_000_000))
    for epoch, wanted in ((1, (9 + 9 + 3) * weights), (10, (9 + 3) * weights)):
        for lacks in (0, 1):
            free = wanted - 1_000_000 - lacks
            monkeypatch.setattr(disk, "inspect_machine", lambda output, free=free: SimpleNamespace(disk_bytes=free))
            assert is_short_after(config, epoch) == bool(lacks)


def test_a_crossover_says_before_it_begins_that_its_models_have_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    disk.foretell_models(tmp_path)
    saved = save_epoch(tmp_path, epoch=1, state=a_state(1), manifest=MANIFEST)
    needed = 2 * sum(entry.bytes for entry in saved.manifest.files.values())
    for free, is_said in ((needed, False), (needed - 1, True)):
        monkeypatch.setattr(disk, "inspect_machine", lambda output, free=free: SimpleNamespace(disk_bytes=free))
        disk.foretell_models(tmp_path)
        assert ("combined models need" in said()) == is_said


@pytest.mark.parametrize("epoch, wanted", [(1, 1 + 3), (10, 3)])
def test_what_comes_next_and_has_no_room_is_said_before_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str], epoch: int, wanted: int
) -> None:
    config = load_config(None, [f"output={tmp_path / 'run'}", "model.preset=tiny", "training.epochs=10"])
    for lacks in (0, 1):
        free = 4 * wanted * disk_parameters() - lacks
        monkeypatch.setattr(disk, "inspect_machine", lambda output, free=free: SimpleNamespace(disk_bytes=free))
        say_if_full_after(config, epoch)
        assert ("The disk is about to be full" in said()) == bool(lacks)

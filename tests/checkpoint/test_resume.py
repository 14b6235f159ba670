"""Resume states: the newest valid one, damaged ones passed over with a reason, two kept, failures agreed by all."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from redheart.checkpoint import newest_resume_state, resume, save_resume_state
from redheart.errors import StorageError
from redheart.storage import read_json, write_json
from tests.storage.full_disk import no_file_over


class Step(msgspec.Struct):
    """A cursor of the least that one holds."""

    global_step: int = 0


def _save(output: Path, step: int, size: int = 10) -> Path:
    def write(folder: Path) -> None:
        (folder / "engine").mkdir()
        torch.save({"step": torch.full((size,), step)}, folder / "engine" / "optimizer.bin")
        (folder / "engine" / "random_states_0.pkl").write_bytes(b"random")

    path = save_resume_state(output, Step(step), write)
    assert path is not None
    return path


def _names(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "checkpoints" / "resume").iterdir())


def test_the_newest_state_comes_back_with_its_cursor_and_files(tmp_path: Path) -> None:
    assert newest_resume_state(tmp_path, Step) == (None, [])
    for step in (1, 2):
        path = _save(tmp_path, step)
    state, reasons = newest_resume_state(tmp_path, Step)
    assert state is not None and reasons == []
    assert state.path == path
    assert state.cursor == Step(2)
    assert torch.load(state.path / "engine" / "optimizer.bin", weights_only=True)["step"][0] == 2


def test_two_states_are_kept(tmp_path: Path) -> None:
    for step in range(1, 5):
        _save(tmp_path, step)
    assert _names(tmp_path) == ["state_000003", "state_000004"]


def test_a_damaged_state_is_passed_over_with_the_reason(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    path = _save(tmp_path, 2)
    file = path / "engine" / "random_states_0.pkl"
    file.write_bytes(b"rendom")
    state, reasons = newest_resume_state(tmp_path, Step)
    assert state is not None and state.cursor == Step(1)
    assert reasons == [f"{file}: missing or damaged"]


def test_two_damaged_states_leave_nothing_to_go_on_from(tmp_path: Path) -> None:
    (_save(tmp_path, 1) / "manifest.json").unlink()
    (_save(tmp_path, 2) / "engine" / "optimizer.bin").unlink()
    state, reasons = newest_resume_state(tmp_path, Step)
    assert state is None
    assert len(reasons) == 2
    assert "optimizer.bin: missing or damaged" in reasons[0]
    assert "manifest.json: could not read" in reasons[1]


@pytest.mark.parametrize("content", ["[]", "{}", '{"cursor": 3, "files": {}}', '{"cursor": {}, "files": {"a": {}}}'])
def test_a_manifest_of_another_form_is_passed_over(tmp_path: Path, content: str) -> None:
    (_save(tmp_path, 1) / "manifest.json").write_text(content)
    state, reasons = newest_resume_state(tmp_path, Step)
    assert state is None
    assert "not the manifest of a resume state" in reasons[0]


def test_a_file_that_the_run_did_not_write_is_never_offered_to_a_loader(tmp_path: Path) -> None:
    path = _save(tmp_path, 1)
    (path / "engine" / "mp_rank_01_model_states.pt").write_bytes(b"foreign")
    state, reasons = newest_resume_state(tmp_path, Step)
    assert state is None
    assert "mp_rank_01_model_states.pt: was not written by the run" in reasons[0]


def test_what_a_killed_save_left_is_no_state_and_is_cleared_away(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    left_over = tmp_path / "checkpoints" / "resume" / ".state_000002.writing"
    left_over.mkdir()
    (left_over / "manifest.json").write_text('{"cursor": {}, "files": {}}')
    state, _ = newest_resume_state(tmp_path, Step)
    assert state is not None and state.cursor == Step(1)
    _save(tmp_path, 2)
    assert _names(tmp_path) == ["state_000001", "state_000002"]


def _write_torch(folder: Path) -> None:
    torch.save(torch.zeros(100_000), folder / "optimizer.bin")


def _write_safetensors(folder: Path) -> None:
    save_file({"a": torch.zeros(100_000)}, str(folder / "model.safetensors"))


def _write_bytes(folder: Path) -> None:
    (folder / "random_states_0.pkl").write_bytes(bytes(100_000))


@pytest.mark.parametrize("write", [_write_torch, _write_safetensors, _write_bytes])
def test_a_full_disk_leaves_the_earlier_state(tmp_path: Path, write: object) -> None:
    assert callable(write)
    _save(tmp_path, 1)
    with no_file_over(20_000), pytest.raises(StorageError, match=r"state_000002: resume state not written.*intact"):
        save_resume_state(tmp_path, {"global_step": 2}, write)
    assert _names(tmp_path) == ["state_000001"]
    state, reasons = newest_resume_state(tmp_path, Step)
    assert state is not None and state.cursor == Step(1) and not reasons


def test_a_folder_that_can_not_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(StorageError, match=r"state_000001: resume state not written: .*; there is no earlier one$"):
        _save(tmp_path, 1)


def test_a_mistake_of_the_program_is_not_called_a_storage_error(tmp_path: Path) -> None:
    def wrong(folder: Path) -> None:
        raise KeyError("optimizer")

    with pytest.raises(KeyError, match="optimizer"):
        save_resume_state(tmp_path, {}, wrong)
    assert _names(tmp_path) == []


def test_another_processs_failure_ends_the_save_here_too(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    asked: list[bool] = []

    def any_rank(failed: bool) -> bool:
        asked.append(failed)
        return len(asked) == 2  # the other process failed to write its part

    with pytest.raises(StorageError, match="another process failed"):
        save_resume_state(tmp_path, {}, lambda folder: None, any_rank=any_rank)
    assert asked == [False, False]
    assert _names(tmp_path) == ["state_000001"]


def test_every_process_enters_every_step_of_a_save(tmp_path: Path) -> None:
    """Two processes, one after the other in each step: both ask as often, and only the main one publishes."""
    asked: dict[str, int] = {"main": 0, "other": 0}
    wrote: list[str] = []

    def enter(who: str) -> Path | None:
        def any_rank(failed: bool) -> bool:
            asked[who] += 1
            return failed

        return save_resume_state(
            tmp_path, {}, lambda folder: wrote.append(who), is_main=who == "main", any_rank=any_rank
        )

    assert enter("other") is None
    assert not (tmp_path / "checkpoints").exists()
    assert enter("main") == tmp_path / "checkpoints" / "resume" / "state_000001"
    assert asked["main"] == asked["other"] == 3
    assert wrote == ["other", "main"]


def test_a_state_that_the_disk_does_not_give_back_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector is no damaged file of ours, and an older state may lie well."""
    _save(tmp_path, 1)
    newest = _save(tmp_path, 2)
    sha256_of = resume.sha256_of

    def read(path: Path) -> str:
        if newest in path.parents:
            raise OSError(5, "Input/output error", str(path))
        return sha256_of(path)

    monkeypatch.setattr(resume, "sha256_of", read)
    state, reasons = newest_resume_state(tmp_path, Step)
    assert state is not None and state.cursor.global_step == 1
    assert len(reasons) == 1 and str(newest) in reasons[0] and "Input/output error" in reasons[0]


def test_a_process_that_sees_the_folder_as_it_was_before_writes_where_the_first_one_says(tmp_path: Path) -> None:
    """On a network's file system: the first process sees both states, the other one none of them."""
    for step in (1, 2):
        _save(tmp_path / "first", step)
    numbers: list[int] = []
    wrote: list[str] = []

    def told(number: int) -> int:
        numbers.append(number)
        return 3

    for folder, is_main in (("first", True), ("stale", False)):
        save_resume_state(
            tmp_path / folder, {}, lambda folder: wrote.append(folder.name), is_main=is_main, of_main=told
        )
    assert numbers == [3, 0]
    assert wrote == [".state_000003.writing"] * 2


def test_a_first_process_that_can_not_number_it_tells_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(output: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(output))

    monkeypatch.setattr(resume, "_generations", fails)
    numbers: list[int] = []
    asked: list[bool] = []
    with pytest.raises(StorageError, match=r"resume state not written: .*Permission denied"):
        save_resume_state(
            tmp_path,
            {},
            lambda folder: None,
            any_rank=lambda failed: bool(asked.append(failed)) or failed,
            of_main=lambda number: numbers.append(number) or number,
        )
    assert (numbers, asked) == ([0], [True])


def test_a_state_that_lacks_a_process_s_file_is_not_published(tmp_path: Path) -> None:
    _save(tmp_path, 1)

    def lacks(folder: Path) -> None:
        raise StorageError(f"{folder}: found no slices_0001.safetensors")

    with pytest.raises(StorageError, match=r"state_000002: resume state not written: .*slices_0001.*intact"):
        save_resume_state(tmp_path, {"global_step": 2}, lambda folder: None, check=lacks)
    assert _names(tmp_path) == ["state_000001"]


def test_a_cursor_that_a_flipped_bit_made_another_is_passed_over(tmp_path: Path) -> None:
    """``2`` is 0x32 and ``3`` 0x33: the run would go on somewhere else, and no file of the state would look damaged."""
    _save(tmp_path, 1)
    manifest = _save(tmp_path, 2) / "manifest.json"
    text = manifest.read_text()
    assert text.count('"global_step": 2') == 1
    manifest.write_text(text.replace('"global_step": 2', '"global_step": 3'))
    state, reasons = newest_resume_state(tmp_path, Step)
    assert state is not None and state.cursor == Step(1)
    assert len(reasons) == 1 and f"{manifest}: damaged, or changed by hand: checksum" in reasons[0]
    with pytest.raises(StorageError, match="changed by hand"):
        resume.resume_state(tmp_path, 2, Step)
    manifest.write_text(text)
    assert newest_resume_state(tmp_path, Step)[0] is not None


def test_a_state_of_before_has_no_checksum_of_its_own_and_is_read(tmp_path: Path) -> None:
    manifest = _save(tmp_path, 2) / "manifest.json"
    content = read_json(manifest)
    del content["checksum"]
    write_json(manifest, content)
    state, reasons = newest_resume_state(tmp_path, Step)
    assert state is not None and state.cursor == Step(2) and not reasons

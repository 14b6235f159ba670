"""A saver that is killed at each of its file operations in turn, and what must hold after each.

``python -m tests.checkpoint.killed_at_each FOLDER [--runs N] [--seed S]``: the operations of one round of saves – an epoch anew, a
model that replaces another, a resume state, an epoch that is thinned – are counted first; then each run kills a saver in front of
another of them, or of as many as asked for. Exits with an assertion's message where a state is torn or lost, or where the next start
leaves anything half done.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from redheart.checkpoint import load_modules, newest_resume_state, read_manifest, save_epoch, save_model
from redheart.checkpoint.epoch import epoch_folders, epochs_folder, list_epochs
from redheart.checkpoint.module_files import module_of
from redheart.checkpoint.resume import note_digest, save_resume_state
from redheart.checkpoint.slices import Place, Slices, write_slices
from redheart.checkpoint.thinning import remove_superseded, thin
from redheart.paths import OutputPaths
from redheart.storage.left_overs import remove_left_overs
from redheart.tasks import MODULES
from tests.checkpoint.states import MANIFEST, a_state, same_bits

#: Far from those that the rounds save.
THINNED = 100
#: What Python tells an audit hook of, and what it does not, which is wrapped.
_AUDITED = (
    "open",
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.truncate",
    "shutil.rmtree",
    "os.link",
)
_WRAPPED = ("fsync", "pwrite", "posix_fallocate")


class Step(msgspec.Struct):
    """A cursor of the least that one holds."""

    global_step: int


def write_state(folder: Path, number: int) -> None:
    """Slices of two processes, the second of which leaves the hash of its file."""
    whole = {name: tensor.float().reshape(-1) for name, tensor in a_state(number).items()}
    for rank in (0, 1):
        parts = {
            name: tensor[len(tensor) // 2 :] if rank else tensor[: len(tensor) // 2] for name, tensor in whole.items()
        }
        places = {name: Place(len(whole[name]) // 2 * rank, (len(whole[name]),)) for name in whole}
        written = write_slices(folder / f"slices_{rank:04d}.safetensors", {"weight": parts}, places, {})
        if rank:
            note_digest(written.path, written.sha256)


def save_round(output: Path, number: int) -> None:
    """An epoch once more, one for the first time, a model and a state; and an epoch that has fewer modules each time."""
    state, manifest = a_state(number), msgspec.structs.replace(MANIFEST, global_step=number)
    save_epoch(output, epoch=1, state=state, manifest=manifest)
    save_epoch(output, epoch=number, state=state, manifest=manifest)
    save_model(output, "best_model", state, manifest)
    save_resume_state(output, Step(number), lambda folder: write_state(folder, number))
    if not (thinned := [one for one in list_epochs(output) if one.epoch == THINNED]):
        thinned = [save_epoch(output, epoch=THINNED, state=a_state(THINNED), manifest=manifest)]
    thin(output, thinned[0], left_after(number))


def left_after(number: int) -> tuple[str, ...]:
    """The modules of the epoch ``THINNED`` after a round."""
    return MODULES[: 12 - 3 * number]


def count_operations(output: Path, at: Callable[[], None]) -> None:
    """Has ``at`` called in front of each file operation in ``output`` of this process from now on."""
    inside = os.fspath(output)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _AUDITED and any(str(one).startswith(inside) for one in arguments[:2]):
            at()

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any) -> Any:
            at()
            return original(*arguments)

        return operation

    for name in _WRAPPED:
        if hasattr(os, name):
            setattr(os, name, wrapped(getattr(os, name)))
    sys.addaudithook(hook)


def in_a_fork(work: Callable[[], None]) -> int:
    """What a child ended with: its exit code, or the number of the signal, negative."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def operations_of_a_round(output: Path) -> int:
    """How many file operations the third round has."""
    read, write = os.pipe()

    def work() -> None:
        count_operations(output, lambda: os.write(write, b"."))
        save_round(output, 3)

    assert in_a_fork(work) == 0
    os.close(write)
    found = b""
    while block := os.read(read, 1 << 16):
        found += block
    return len(found)


def killed(output: Path, operation: int) -> None:
    """Runs the third round and kills it in front of an operation, from 0."""
    left = operation

    def at() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def work() -> None:
        count_operations(output, at)
        save_round(output, 3)

    assert in_a_fork(work) == -signal.SIGKILL


def check(output: Path, what: str) -> None:
    """Everything is as before the third round or as after it, and the next start leaves nothing half done."""
    for when in ("as it was left", "after the next start"):
        listed = list_epochs(output, verify=True)
        assert [one.epoch for one in listed] in ([1, 2, THINNED], [1, 2, 3, THINNED]), (what, when, "an epoch is lost")
        *saved, thinned = listed
        assert thinned.manifest.modules in (left_after(2), left_after(3)), (what, when, thinned.manifest.modules)
        left = {name: one for name, one in a_state(THINNED).items() if module_of(name) in thinned.manifest.modules}
        assert same_bits(load_modules(thinned.path, thinned.manifest.modules), left), (what, when, thinned.path)
        for one in saved:
            assert same_bits(load_modules(one.path), a_state(one.manifest.global_step)), (what, when, one.path)
            assert one.manifest.global_step in ((2, 3) if one.epoch == 1 else (one.epoch,)), (what, when, one.path)
        if when == "after the next start" or (output / "best_model").exists():
            best = read_manifest(output / "best_model")
            assert same_bits(load_modules(output / "best_model"), a_state(best.global_step)), (what, when)
        state, reasons = newest_resume_state(output, Step)
        assert state is not None and state.cursor.global_step in (2, 3) and not reasons, (what, when, reasons)
        with Slices(state.path.glob("slices_*")) as slices:
            expected = {name: one.float().reshape(-1) for name, one in a_state(state.cursor.global_step).items()}
            assert all(torch.equal(slices.whole("weight", name), one) for name, one in expected.items()), (what, when)
        for folder in (output, epochs_folder(output), OutputPaths(output).resume):
            remove_left_overs(folder, bool)
        remove_superseded(output)
    assert len(epoch_folders(output)) == len(listed), (what, sorted(epochs_folder(output).iterdir()))
    assert not [path for path in output.rglob(".*")], (what, [path.name for path in output.rglob(".*")])


def main(argv: Sequence[str] | None = None) -> int:
    """Kills and checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, help="kills (default: at each operation)")
    parser.add_argument("--seed", type=int, default=0, help="of which operations (default: 0)")
    chosen = parser.parse_args(argv)
    torch.set_num_threads(1)
    before = chosen.folder / "before"
    save_round(before, 1)
    save_round(before, 2)
    shutil.copytree(before, chosen.folder / "counted")
    count = operations_of_a_round(chosen.folder / "counted")
    assert count > 100, f"found {count} operations only"
    places = list(range(count))
    if chosen.runs is not None:
        places = random.Random(chosen.seed).sample(places, min(chosen.runs, count))
    for place in places:
        output = chosen.folder / "run"
        shutil.copytree(before, output)
        killed(output, place)
        check(output, f"killed at operation {place} of {count}")
        save_round(output, 3)
        assert [one.epoch for one in list_epochs(output, verify=True)] == [1, 2, 3, THINNED]
        shutil.rmtree(output)
    print(f"{len(places)} kills at {count} operations")
    return 0


if __name__ == "__main__":
    sys.exit(main())

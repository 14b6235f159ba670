"""Savers to be killed at random moments, and what must hold after each kill.

Run as ``python -m tests.checkpoint.killed_saver FOLDER KILLS``: torch is imported once, each saver is a fork of it.
Exits with an assertion's message where something is torn.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import msgspec
import torch

from redheart.checkpoint import (
    list_epochs,
    load_modules,
    newest_resume_state,
    read_manifest,
    save_epoch,
    save_model,
    save_resume_state,
)
from tests.checkpoint.states import MANIFEST, a_state, same_bits


class Step(msgspec.Struct):
    """A cursor of the least that one holds."""

    global_step: int


def _write_part(folder: Path, seed: int) -> None:
    (folder / "engine").mkdir()
    for part in range(3):
        torch.save(a_state(seed, size=500), folder / "engine" / f"part_{part}.pt")


def save_round(output: Path, number: int) -> None:
    """Epoch 1 always as new, another epoch once, a best model and a resume state beside them."""
    state = a_state(number, size=500)
    save_epoch(output, epoch=1, state=state, manifest=msgspec.structs.replace(MANIFEST, global_step=number))
    save_epoch(output, epoch=number, state=state, manifest=msgspec.structs.replace(MANIFEST, global_step=number))
    save_model(output, "best_model", state, msgspec.structs.replace(MANIFEST, global_step=number))
    save_resume_state(output, Step(number), lambda folder: _write_part(folder, number))


def save_for_ever(output: Path, first: int) -> None:
    """Round after round, each of the next epoch."""
    for number in range(first, first + 1000):
        save_round(output, number)


def check(output: Path, epochs_before: set[int]) -> set[int]:
    """Everything listed is whole; nothing listed before is lost; there is a best model and a state to go on from."""
    listed = list_epochs(output, verify=True)
    epochs = {checkpoint.epoch for checkpoint in listed}
    assert epochs_before <= epochs, f"lost: {epochs_before - epochs}"
    assert [checkpoint.epoch for checkpoint in listed] == [c.epoch for c in list_epochs(output)], "listed but damaged"
    for checkpoint in listed:
        assert same_bits(load_modules(checkpoint.path), a_state(checkpoint.manifest.global_step, size=500))
    manifest = read_manifest(output / "best_model")
    assert same_bits(load_modules(output / "best_model"), a_state(manifest.global_step, size=500))
    state, reasons = newest_resume_state(output, Step)
    assert state is not None and not reasons, reasons
    return epochs


def main(output: Path, kills: int) -> None:
    moments = random.Random(1)
    save_round(output, 2)
    started = time.monotonic()
    save_round(output, 3)
    round_seconds = time.monotonic() - started  # a kill falls anywhere in two rounds, however busy the machine is
    epochs = {1, 2, 3}
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            save_for_ever(output, max(epochs) + 1)
            os._exit(0)
        time.sleep(moments.uniform(0, 2 * round_seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        epochs = check(output, epochs)
    assert len(epochs) > 5, "hardly a saver came to the end of a save"
    print(f"{kills} kills, {len(epochs)} epochs")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]))

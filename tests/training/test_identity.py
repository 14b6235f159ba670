"""Identities are what they were when the first runs and sweeps were finished: literal, from the code of that time."""

from __future__ import annotations

import pytest

from redheart.config import load_config
from redheart.storage import fingerprint
from redheart.sweep.identity import sweep_identity
from redheart.training.identity import run_identity, trial_identity

#: Overrides; the fingerprints of the sweep, of a trial and of a run of dataset ``data`` by commit 4238d59, the run at its
#: given learning rate or else 3e-4 and the preset that ``auto`` comes to on a CPU.
OF_BEFORE = [
    ([], "1dff232eea29acfb", "4667d7b1ba4a5b3a", "6b2775ba9b9852ab"),
    (["model.preset=tiny"], "a62b8ec336022025", "8a1542a609f37249", "6b2775ba9b9852ab"),
    (["training.precision=no"], "7822818b03dc4ef8", "d82be8ac7b22e089", "16f06271c906a54b"),
    (["training.learning_rate=1e-4"], "1dff232eea29acfb", "4667d7b1ba4a5b3a", "49a89c8ef0bdba0a"),
    (
        ["training.precision=bf16", "model.preset=730m", "seed=3"],
        *("03c0d16d0ca07ada", "51a901e8de9c291b", "f41af470c26b281a"),
    ),
    (
        ["training.schedule=wsd", "training.epochs=3", "sweep.stages=2", "sweep.points=3"],
        *("c26d81fa3098d78c", "0d7ac93f9b369df5", "3b72474179da280e"),
    ),
    (
        ["training.micro_batch_size=4", "model.dropout=0.2", "training.ema_decay=0.99"],
        *("f2ded64313237f60", "e8fc7e2ccb00f8b2", "a3f208a1dff354aa"),
    ),
]


@pytest.mark.parametrize("overrides, sweep, trial, run", OF_BEFORE, ids=lambda value: str(value))
def test_an_identity_is_what_it_was(overrides: list[str], sweep: str, trial: str, run: str) -> None:
    config = load_config(None, overrides)
    preset = "tiny" if config.model.preset == "auto" else config.model.preset
    learning_rate = config.training.learning_rate or 3e-4
    assert sweep_identity(config, "data") == sweep
    assert fingerprint(trial_identity(config, "data")) == trial
    assert fingerprint(run_identity(config, "data", preset, learning_rate)) == run

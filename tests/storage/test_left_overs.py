"""What a kill leaves half done goes at the next start; what was whole before comes back; anything else stays."""

from __future__ import annotations

import os
from pathlib import Path

from redheart.storage.left_overs import remove_left_overs


def test_what_is_half_done_goes_and_what_lost_its_name_gets_it_back(tmp_path: Path) -> None:
    for name in (
        ".epoch_0003.writing",
        ".epoch_0002.g2.writing",
        ".best_model.old",
        ".model.old",
        "model",
        "mine.writing",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    for name in (f".run.json.{os.getpid()}-0123abcd.tmp", ".mine.tmp", ".lock", "notes.tmp", ".writing"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".venv.old").mkdir()
    found = remove_left_overs(tmp_path, lambda name: name != "venv")
    (tmp_path / ".venv.old").rmdir()  # a user's, and still there
    assert len(found) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["best_model", "model", "mine.writing", ".mine.tmp", ".lock", "notes.tmp", ".writing"]
    )
    assert (tmp_path / "best_model" / "file").read_text() == ".best_model.old", "all that was left of it"
    assert (tmp_path / "model" / "file").read_text() == "model"
    assert remove_left_overs(tmp_path, bool) == [] == remove_left_overs(tmp_path / "nowhere", bool)

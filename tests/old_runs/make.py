"""Makes what the code of a revision leaves on disk, for the tests that a later one still reads it.

    python -m tests.old_runs.make 4238d59 --to tests/old_runs/4238d59

The revision is taken out of the history into a temporary folder, and its own command line does everything: a sweep, a
training with all that follows from it, an export, and two trainings that are stopped within an epoch, one of them in two
processes under ZeRO-2. The model is a miniature (``miniature.py``), because nothing large belongs into a repository.

Two kinds of files are made of it in ``--to``: small texts as they are, so that a reader sees the forms, and
``rest.tar.xz`` with everything else. What no reader of an old run looks at is left out, and what tells of the machine:
logs, claims and locks, TensorBoard's events, the page of the report. Where a file names the folder that it was made in –
``run.json`` its dataset – ``{FOLDER}`` stands instead; ``unpack`` puts the folder's name there.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.old_runs.stories import write_encoder, write_stories

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
SETTINGS = """\
data:
  path: stories.json
embedding:
  model: encoder
  precision: fp32
model:
  preset: tiny
training:
  epochs: 3
  global_batch_size: 8
  precision: "no"
sweep:
  stages: 2
  points: 3
  epochs: 1
  workers: 1
report:
  bootstrap_samples: 200
"""
#: Within the second of three epochs, of 5 steps each.
STOP_AFTER = "checkpoints/epoch_0001"
TEXT = "I sold the cat of my boss. He asked me about it, and I said nothing for days."
PLACE = "{FOLDER}"
ARCHIVE = "rest.tar.xz"
_LEFT_OUT = ("tensorboard", "logs", "claims", "redheart.log", "report.html", "launch", "ds_configs")
_TEXTS = (".json", ".jsonl", ".yaml", ".md", ".csv")
_SMALL = 4096  # bytes
#: A white point: a picture's place is kept, because a stage is done only if its pictures are there.
_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTQYnwAAAABJRU5ErkJggg=="
)


def has_revision(revision: str) -> bool:
    """Whether the history is here, and goes back that far."""
    try:
        found = subprocess.run(
            ["git", "cat-file", "-e", f"{revision}^{{commit}}"], cwd=PROJECT, capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return found.returncode == 0


def take_out(revision: str, tree: Path) -> Path:
    """The files of ``revision`` in the new folder ``tree``."""
    tree.mkdir(parents=True)
    done = subprocess.run(["git", "archive", revision], cwd=PROJECT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(tree, filter="data")
    return tree


class Maker:
    """The command line of the code in ``tree``, at work in ``folder``."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self.tree, self.folder = tree, folder

    def prepare(self) -> None:
        """Dataset, encoder, settings; and what ``launch`` looks for in the current folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_stories(self.folder / "stories.json")
        write_encoder(self.folder / "encoder")
        (self.folder / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
        for name in ("launch", "ds_configs"):
            shutil.copytree(self.tree / name, self.folder / name)

    def _run(self, command: list[str], environment: dict[str, str], expected: int) -> str:
        whole = {**os.environ, "PYTHONPATH": str(self.tree), "REDHEART_LANG": "en", "OMP_NUM_THREADS": "1"}
        whole |= {"OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": "", **environment}
        done = subprocess.run(
            command, cwd=self.folder, env=whole, capture_output=True, text=True, timeout=560, check=False
        )
        if done.returncode != expected:
            raise AssertionError(
                f"{command} ended with {done.returncode}, wanted {expected}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def run(self, *arguments: str, expected: int = 0, **environment: str) -> str:
        """A command in one process; what it printed."""
        program = [sys.executable, str(HERE / "miniature.py"), *arguments, "--config", "settings.yaml"]
        return self._run(program, environment, expected)

    def run_two(self, *arguments: str, expected: int = 0, **environment: str) -> str:
        """A command in two processes under ZeRO-2, started as a user would."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "launch/zero2.yaml"]
        command += ["--num_processes", "2", "--main_process_port", port, str(HERE / "miniature.py"), *arguments]
        return self._run([*command, "--config", "settings.yaml"], environment, expected)

    def check_code(self) -> None:
        """Whether the code that runs is that of ``tree``, and no installed one."""
        found = self._run([sys.executable, "-c", "import redheart; print(redheart.__file__)"], {}, 0).strip()
        assert Path(found).is_relative_to(self.tree), f"{found} ran, wanted the code in {self.tree}"


def make(maker: Maker) -> dict[str, Any]:
    """Everything; returns what a later version is to find again."""
    folder = maker.folder
    maker.prepare()
    maker.check_code()
    for command in ("sweep", "train", "analyze", "crossover"):
        maker.run(command)
    evaluation = json.loads(maker.run("evaluate", "--json"))["tasks"]
    prediction = json.loads(maker.run("predict", TEXT, "--json"))
    maker.run("report")
    maker.run("export", "--to", "exported")
    rate = json.loads((folder / "training" / "lr_sweep_results" / "optimal_lr.json").read_text())["optimal_lr"]
    interrupt(maker, rate)
    # Without the watch over the first steps, whose measures take the most room in a state; the other has them.
    again = ("train", "--lr", rate, "training.liveness_steps=5", "--output")
    maker.run_two(*again, "whole_zero2")
    # 1: the launcher's own exit code of a group whose processes ended with another than 0.
    maker.run_two(*again, "interrupted_zero2", expected=1, STOP_AFTER=f"interrupted_zero2/{STOP_AFTER}")
    wanted = {"evaluation": evaluation, "prediction": prediction, "zero2": losses(folder / "whole_zero2")}
    shutil.rmtree(folder / "whole_zero2")
    return wanted


def interrupt(maker: Maker, learning_rate: str) -> None:
    """Leaves a training of one process that was stopped within an epoch."""
    stopped = ("train", "--lr", learning_rate, "--output", "interrupted")
    maker.run(*stopped, expected=130, STOP_AFTER=f"interrupted/{STOP_AFTER}")


def losses(output: Path) -> list[dict[str, float]]:
    """What a run's ``metrics.jsonl`` says of its epochs."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        {"train": line["train"]["loss"], "choose": line["choose"]["loss"]} for line in lines if line["kind"] == "epoch"
    ]


def _is_left_out(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    # A finished run's resume states, and all but the newest of an interrupted one.
    if "resume" in parts:
        resume = folder.joinpath(*parts[: parts.index("resume") + 1])
        newest = max(resume.glob("state_*"))
        return parts[0] == "training" or newest not in path.parents
    return any(part in _LEFT_OUT for part in parts) or path.name.endswith("lock")


def pack(folder: Path, to: Path) -> None:
    """Writes the files of ``folder`` into ``to``, which it replaces."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    kept = {path.relative_to(folder).as_posix(): _content(path, folder) for path in sorted(folder.rglob("*"))}
    with tarfile.open(to / ARCHIVE, "w:xz", preset=9) as archive:
        for name, content in kept.items():
            if content is None:
                continue
            if name == "wanted.json" or (
                len(content) <= _SMALL and name.endswith(_TEXTS) and "checkpoints" not in name
            ):
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                (to / name).write_bytes(content)
            else:
                entry = tarfile.TarInfo(name)  # with nobody's name and no time
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def _content(path: Path, folder: Path) -> bytes | None:
    if not path.is_file() or _is_left_out(path, folder):
        return None
    if path.suffix == ".png":
        return _PICTURE
    content = path.read_bytes()
    if path.suffix in _TEXTS:
        content = content.replace(str(folder).encode(), PLACE.encode())
    assert str(folder).encode() not in content, f"{path} names the folder that it was made in"
    assert len(socket.gethostname()) < 4 or socket.gethostname().encode() not in content, f"{path} names this machine"
    return content


def unpack(fixtures: Path, folder: Path) -> Path:
    """The runs as they were, in ``folder``, which they name where they named their own."""
    shutil.copytree(fixtures, folder, ignore=shutil.ignore_patterns(ARCHIVE))
    with tarfile.open(fixtures / ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for path in folder.rglob("*"):
        if path.suffix in _TEXTS and path.is_file() and PLACE.encode() in (content := path.read_bytes()):
            path.write_bytes(content.replace(PLACE.encode(), str(folder).encode()))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="whose code to run")
    parser.add_argument("--to", type=Path, required=True, help="the folder of the fixtures; replaced")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        tree = take_out(arguments.revision, Path(place).resolve() / "tree")
        maker = Maker(tree, Path(place).resolve() / "made")
        wanted = make(maker)
        (maker.folder / "wanted.json").write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        pack(maker.folder, arguments.to)


if __name__ == "__main__":
    main()

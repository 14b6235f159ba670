"""Embedding that is stopped, killed, done twice at once or out of space: what was stored stays, and nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from redheart.config import EmbeddingConfig
from redheart.embedding import EmbeddedDataset
from redheart.embedding.lock import LOCK_NAME
from redheart.embedding.store import VectorStore
from redheart.errors import Interrupted, StorageError
from redheart.progress import Ticker
from tests.embedding.conftest import SAVED, check_no_story_was_read_twice, embed, make_items, write_items
from tests.storage.synced import Synced


def test_vectors_are_synced_before_they_count(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = Synced(monkeypatch)
    embed(write_items(tmp_path / "data" / "x.json", make_items(3)), config)
    assert [name for name in synced.missed(tmp_path / "data") if name != "x.json" and LOCK_NAME not in name] == []


def test_a_stop_stores_what_is_embedded_and_the_next_run_goes_on(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(20))
    answers = iter([False, False, True])
    with pytest.raises(Interrupted, match="of 20 missing situations embedded and stored") as caught:
        embed(path, config, should_stop=lambda: next(answers))
    assert caught.value.exit_code == 130
    assert SAVED not in log()
    stored = stored_items(tmp_path / "x.vectors")
    assert 0 < len(stored) < 20
    done = len(embedded_texts)
    made = embed(path, config)
    assert len(made) == 20
    check_no_story_was_read_twice(embedded_texts, 20)
    assert len(embedded_texts) > done
    made.verify()


def stored_items(folder: Path) -> list[str]:
    """All keys that index lines name, one per stored item, repeated if stored twice."""
    keys: list[str] = []
    for index in folder.glob("*.index.jsonl"):
        for line in index.read_text().splitlines()[1:]:
            keys.extend(key for key, _, _ in json.loads(line)["items"])
    return keys


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_kill_in_the_middle_loses_one_batch_at_most(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(90))
    program = (
        "import sys\nfrom pathlib import Path\nfrom redheart.config import EmbeddingConfig\n"
        "from redheart.embedding import embed_dataset\nfrom redheart.embedding.encoder import Encoder\n"
        "inner = Encoder.encode_segments\n"
        "def told(self, segments):\n"
        "    with open(sys.argv[2], 'a') as out: out.write(f'{sum(one.kind == 0 for one in segments)}\\n')\n"
        "    return inner(self, segments)\n"
        "Encoder.encode_segments = told\n"
        "path = Path(sys.argv[1])\n"
        "embed_dataset(path, EmbeddingConfig(batch_size=16, precision='fp32'), output_root=path.parent)\n"
    )
    begun = tmp_path / "begun"
    process = subprocess.Popen([sys.executable, "-c", program, str(path), str(begun)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not begun.exists() or len(begun.read_text().splitlines()) < 6:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    stored = stored_items(tmp_path / "x.vectors")
    batches = [int(line) for line in begun.read_text().splitlines()]
    assert 0 < len(stored) < 90
    assert sum(batches) - len(stored) in (0, batches[-1])  # embedded and not stored: the last batch, or nothing
    made = embed(path, config)
    assert sum(text.startswith("Story ") for text in embedded_texts) == 90 - len(stored)
    assert sorted(stored_items(tmp_path / "x.vectors")) == sorted(made.keys)
    made.verify()


def test_two_processes_at_once_do_not_embed_anything_twice(
    tmp_path: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    path = write_items(tmp_path / "x.json", make_items(40))
    made: list[EmbeddedDataset] = []
    threads = [threading.Thread(target=lambda: made.append(embed(path, config))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0].identity == made[1].identity
    check_no_story_was_read_twice(embedded_texts, 40)
    made[0].verify()


def test_how_far_it_is_is_said_where_there_is_no_terminal(
    tmp_path: Path,
    config: EmbeddingConfig,
    embedded_texts: list[str],
    log: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    ticker = Ticker(lambda: now[0], has_thread=False)
    monkeypatch.setattr("redheart.progress._ticker", ticker)

    def a_minute_passes() -> bool:
        """Called before each batch."""
        now[0] += 50.0
        ticker.tick()
        return False

    embed(write_items(tmp_path / "d.json", make_items(30)), config, should_stop=a_minute_passes)
    lines = [line for line in log().splitlines() if line.startswith("⏳ 임베딩 (상황): ")]
    assert lines[0].startswith("⏳ 임베딩 (상황): 0/30 (0%)")
    assert "분당" in lines[-1] and "남은 시간 약 " in lines[-1]
    done = [int(line.split()[3].partition("/")[0]) for line in lines]
    assert done == sorted(set(done)) and len(done) > 5


def test_a_stop_is_heard_while_another_process_holds_the_lock(tmp_path: Path, config: EmbeddingConfig) -> None:
    from filelock import FileLock

    path = write_items(tmp_path / "x.json", make_items(1))
    (tmp_path / "x.vectors").mkdir()
    with FileLock(tmp_path / "x.vectors" / LOCK_NAME), pytest.raises(Interrupted, match="another process"):
        embed(path, config, should_stop=lambda: True)


def test_a_full_disk_is_named_and_what_was_stored_stays(
    tmp_path: Path, small_disk: Path, config: EmbeddingConfig, embedded_texts: list[str], log: Callable[[], str]
) -> None:
    items = make_items(60)
    path = write_items(small_disk / "x.json", items)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        embed(path, config)
    assert str(small_disk / "x.vectors") in str(caught.value)
    assert SAVED not in log()
    (name,) = {one.name.split(".")[0] for one in (small_disk / "x.vectors").glob("*.index.jsonl")}
    store = VectorStore(small_disk / "x.vectors", name)
    assert 0 < len(store.records) < 60
    assert store.damaged() == []
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    done = len(store.records)
    embedded_texts.clear()
    embed(path, config).verify()
    assert sum(text.startswith("Story ") for text in embedded_texts) == 60 - done

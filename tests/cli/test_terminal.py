"""Whatever the terminal's encoding: tables with stand-ins, JSON and settings with every letter, no traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from redheart.cli.main import main
from redheart.cli.terminal import prepare_streams, print_json, show, shows_korean, typed
from redheart.config import load_config
from redheart.messages import language, set_language
from tests.in_this_process import redheart

ROOT = Path(__file__).parents[2]
NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0"}


def _redheart(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    inherited = {name: value for name, value in os.environ.items() if name != "REDHEART_LANG"}
    return subprocess.run(
        [sys.executable, "-m", "redheart", *words],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        check=False,
    )


def _output(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    """What is written to standard output, which has this encoding."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    prepare_streams()
    return written


@pytest.mark.parametrize(
    ("environment", "encoding"),
    [
        *(({"PYTHONIOENCODING": name}, name) for name in ("euc-kr", "cp949", "ascii", "latin-1", "ascii:strict")),
        (NO_UTF8, "ascii"),
    ],
)
def test_a_table_is_shown_in_every_encoding(tmp_path: Path, environment: dict[str, str], encoding: str) -> None:
    if environment == NO_UTF8:
        done = _redheart("params", cwd=tmp_path, **environment)
    else:
        done = redheart("params", cwd=tmp_path, streams=environment["PYTHONIOENCODING"])
    assert (done.returncode, done.stderr) == (0, b"")
    last = done.stdout.decode(encoding.partition(":")[0]).splitlines()[-1]
    assert last.startswith(
        "[ok] 목표 파라미터 수 달성" if encoding in ("euc-kr", "cp949") else "[ok] Parameter target met"
    ), "Korean where it can be read, else English"


@pytest.mark.parametrize("words", [["doctor"], ["workflow", "validate"], ["train", "--epoch", "3"], ["--help"]])
def test_no_command_ends_in_a_traceback_in_an_ascii_terminal(tmp_path: Path, words: list[str]) -> None:
    done = redheart(*words, cwd=tmp_path, streams="ascii", HF_HUB_OFFLINE="1")
    assert done.returncode == (2 if "--epoch" in words else 0)
    assert "Traceback" not in (done.stdout + done.stderr).decode("ascii")


def test_a_sign_has_a_stand_in_and_other_letters_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _output(monkeypatch, "ascii")
    show("✅ ⚠️ ❌ 0.1 ± 0.2 → −3 × 4 █▌▏ 💾 한 é")
    assert terminal.getvalue() == b"[ok] [!] [no] 0.1 +- 0.2 -> -3 x 4 ##  * ? ?\n"


@pytest.mark.parametrize("encoding", ["ascii", "euc-kr", "latin-1", "utf-8"])
def test_a_files_name_is_given_back_as_the_bytes_it_came_as(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    written = _output(monkeypatch, encoding)
    show(os.fsdecode(b"caf\xe9"))
    assert written.getvalue() == b"caf\xe9\n"


@pytest.mark.parametrize("encoding", ["ascii", "euc-kr", "latin-1", "utf-8"])
def test_json_keeps_every_letter_in_every_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    written = _output(monkeypatch, encoding)
    value = {"id": "하나 é 🫀 \ud800", "path": "caf\udce9", "plain": 'a "quote"'}
    print_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(written.getvalue().decode("utf-8")) == value
    assert ("하나" in written.getvalue().decode("utf-8")) == (encoding == "utf-8"), "as it is where it can be"


def test_printed_settings_are_read_back_whatever_the_encoding(tmp_path: Path) -> None:
    words = ["train", "--print-config", "data.path=한글 é/데이터.json", "--output", "출력", "--lang", "ko"]
    done = _redheart(*words, cwd=tmp_path, PYTHONIOENCODING="euc-kr")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii(), "it is read as UTF-8"
    (tmp_path / "printed.yaml").write_bytes(done.stdout)
    config = load_config(tmp_path / "printed.yaml")
    assert (config.data.path, config.output) == ("한글 é/데이터.json", "출력")


def test_the_default_language_is_one_that_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    before = language()
    _output(monkeypatch, "ascii")
    monkeypatch.delenv("REDHEART_LANG", raising=False)
    try:
        assert not shows_korean()
        assert main(["params", "--preset", "tiny"]) == 0
        assert language() == "en"
        assert main(["params", "--preset", "tiny", "--lang", "ko"]) == 0
        assert language() == "ko", "asked for"
    finally:
        set_language(before)
        monkeypatch.setenv("REDHEART_LANG", "en")


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "latin-1"}, NO_UTF8])
def test_korean_of_the_environment_gives_way_to_english_where_it_can_not_be_read_and_says_so_once(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    done = _redheart("params", cwd=tmp_path, REDHEART_LANG="ko", **environment)
    assert done.returncode == 0 and b"??" not in done.stdout + done.stderr
    assert done.stdout.decode("ascii").splitlines()[-1].startswith("[ok] Parameter target met")
    (line,) = done.stderr.decode("ascii").splitlines()
    assert line.startswith("REDHEART_LANG=ko: this terminal's encoding (") and "messages are English" in line


def test_korean_that_was_typed_for_a_command_stays_and_the_cure_is_told(tmp_path: Path) -> None:
    done = redheart("params", "--lang", "ko", cwd=tmp_path, streams="latin-1")
    (line,) = done.stderr.decode("ascii").splitlines()
    assert line.startswith("--lang ko:") and "PYTHONIOENCODING=utf-8" in line
    readable = redheart("params", cwd=tmp_path, REDHEART_LANG="ko", streams="euc-kr")
    assert readable.stderr == b"" and "파라미터" in readable.stdout.decode("euc-kr")


def test_a_text_typed_in_utf8_is_read_so_whatever_the_locale() -> None:
    assert typed("거짓말") == "거짓말"
    assert typed("거짓말".encode().decode("ascii", "surrogateescape")) == "거짓말"
    with pytest.raises(ValueError):
        typed("caf\udce9")


def test_a_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    for words in (["caf\udce9"], ["I lied.", "--title", "caf\udce9"], ["I lied.", "--action=caf\udce9"]):
        done = redheart("predict", *words, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr == b"redheart predict: found a text that is not UTF-8; wanted UTF-8, typed or as a --file\n"


def test_a_name_that_the_locale_can_not_say_is_refused_at_once_with_the_cure(tmp_path: Path) -> None:
    done = _redheart("embed", "--output", "출력", cwd=tmp_path, **NO_UTF8)
    assert done.returncode == 2 and b"--output: found letters that no name has where names are ascii" in done.stderr
    assert b"PYTHONUTF8=1" in done.stderr and list(tmp_path.iterdir()) == []
    cured = _redheart("embed", "--output", "출력", "--print-config", cwd=tmp_path, **{**NO_UTF8, "PYTHONUTF8": "1"})
    assert cured.returncode == 0 and "출력" in cured.stdout.decode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    command = f"{sys.executable} -m redheart params --preset tiny >/dev/full"
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert done.returncode == 4
    assert done.stderr == b"redheart params: standard output could not be written: No space left on device\n"


def test_closed_streams_are_thrown_away(tmp_path: Path) -> None:
    command = f"{sys.executable} -m redheart params --preset tiny >&- 2>&- <&-"
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, check=False
    )
    assert done.returncode == 0


def test_the_reader_of_the_help_may_go() -> None:
    command = f"{sys.executable} -m redheart workflow --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert done.stderr == b"" and done.stdout.strip() in (b"0", b"141")

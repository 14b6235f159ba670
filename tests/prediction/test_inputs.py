"""What can be given to predict: a text, a file, standard input; and what is said of what can't."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path

import pytest

from redheart.errors import DataError, RedHeartError, UsageError
from redheart.prediction.formatting import as_table, record
from redheart.prediction.inputs import ONLY_TEXT, read_inputs
from redheart.prediction.predictor import Prediction
from redheart.tasks import TASKS


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch):
    """Standard input with this content, as from a pipe; None: a terminal."""

    def give(content: bytes | None) -> None:
        class Stream(io.TextIOWrapper):
            def isatty(self) -> bool:
                return content is None

        monkeypatch.setattr("sys.stdin", Stream(io.BytesIO(content or b"")))

    give(None)
    return give


def test_a_text_is_taken_as_it_is_typed_with_its_title_and_action(typed) -> None:
    (one,) = read_inputs(["I took her car."], None, title="Borrowed", action="taking it")
    assert (one.id, one.text, one.title, one.action) == (ONLY_TEXT, "I took her car.", "Borrowed", "taking it")
    assert read_inputs(["[UPDATE] we talked"], None)[0].text == "[UPDATE] we talked"


@pytest.mark.parametrize("name", ["text", "standard input", "-"])
def test_a_storys_own_id_is_shown_whatever_it_is(typed, name: str) -> None:
    typed(json.dumps([{"id": name, "text": "one"}]).encode())
    (named,) = read_inputs([], None)
    (typed_one,) = read_inputs(["one"], None)
    values = {task.name: (0.5,) * len(task.dimensions) for task in TASKS}
    assert record(Prediction(named, values)).id == name
    assert as_table(Prediction(named, values), None).splitlines()[0] == name
    assert record(Prediction(typed_one, values)).id is None
    assert as_table(Prediction(typed_one, values), None).splitlines()[0] == "one"


def test_a_text_file_is_one_text_and_a_data_file_holds_situations(typed, tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_bytes("\ufeffAm Ende weinte sie. Schön war das nicht.\n".encode())
    (one,) = read_inputs([], tmp_path / "story.txt", title="T")
    assert one.text.startswith("Am Ende") and one.title == "T"
    items = [{"id": "a", "text": "one"}, {"id": "b", "text": "two", "title": "Two", "regret_factor": 0.5}]
    (tmp_path / "some.json").write_text(json.dumps(items))
    (tmp_path / "some.jsonl").write_text("\n".join(map(json.dumps, items)))
    for name in ("some.json", "some.jsonl"):
        assert [(one.id, one.title) for one in read_inputs([], tmp_path / name)] == [("a", None), ("b", "Two")]


@pytest.mark.parametrize("words", [[], ["-"]])
def test_standard_input_is_one_text_unless_it_is_json(typed, words: list[str]) -> None:
    typed(b"I said nothing.\nShe found out.\n")
    assert read_inputs(words, None, title="T")[0].text == "I said nothing.\nShe found out.\n"
    typed(b'  [\n {"id": "a", "text": "one"}]')
    assert [one.id for one in read_inputs(words, None)] == ["a"]
    typed(b'{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n')
    assert [one.id for one in read_inputs(words, None)] == ["a", "b"]
    typed(b" [ ]\n")
    refused(DataError, "found an empty array", words=words)
    typed(b"[] was all she wrote.")
    assert read_inputs(words, None)[0].text == "[] was all she wrote."
    typed(b"[sigh] He never {really} called.")
    assert read_inputs(words, None)[0].text == "[sigh] He never {really} called."


def refused(error: type[RedHeartError], *parts: str, words=(), file=None, **headings) -> None:
    with pytest.raises(error) as found:
        read_inputs(words, file, **headings)
    assert found.value.exit_code == 2
    for part in parts:
        assert part in str(found.value)


def test_nothing_two_texts_and_a_text_beside_a_file_are_refused(typed, tmp_path: Path) -> None:
    refused(UsageError, "found nothing to predict", "--file FILE")
    refused(UsageError, "found 2 texts, wanted one: put it in quotes", words=["I", "lied"])
    refused(UsageError, "a text and --file", words=["I lied"], file=tmp_path / "a.txt")


def test_what_is_empty_is_named_with_its_field_and_its_place(typed, tmp_path: Path) -> None:
    refused(UsageError, "the text, field text", "an empty string", words=[""])
    refused(UsageError, "the text, field text", "only white space", words=[" \n "])
    refused(UsageError, "field title: found an empty one", words=["x"], title="")
    refused(UsageError, "field action: found an empty one", words=["x"], action="  ")
    typed(b"")
    refused(UsageError, "standard input, field text", "an empty string")
    (tmp_path / "empty.txt").write_text("")
    refused(UsageError, "empty.txt, field text", "an empty string", file=tmp_path / "empty.txt")
    (tmp_path / "some.jsonl").write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": ""}\n')
    refused(DataError, "some.jsonl, item 1", 'id "b", field text: found an empty string', file=tmp_path / "some.jsonl")
    typed(b'{"id": "a", "text": "one"}\n{"id": "b", "title": "no text"}\n')
    refused(DataError, "standard input, item 1", "field text: found nothing")
    typed(b'{"id": "a", "text": "one"}\n{"id": \n')
    refused(DataError, "standard input, item 1", "line 2")


def test_files_that_can_not_be_read_as_what_they_are_called_are_refused(typed, tmp_path: Path) -> None:
    refused(UsageError, "ends in '.docx'; wanted .txt (one text), or .json or .jsonl", file=Path("a.docx"))
    refused(DataError, "none.txt: can't be read", file=tmp_path / "none.txt")
    refused(DataError, "none.json", "no such file", file=tmp_path / "none.json")
    (tmp_path / "latin.txt").write_bytes("Schön".encode("latin-1"))
    refused(DataError, "latin.txt: found byte 0xf6 at 3; wanted UTF-8", file=tmp_path / "latin.txt")
    (tmp_path / "some.json").write_text('[{"id": "a", "text": "one"}]')
    refused(UsageError, "leave --title and --action out", file=tmp_path / "some.json", title="T")
    refused(UsageError, "half a surrogate pair", words=["\ud800"])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"PAR1" + b"\xff" * 40, "Parquet"),
        ("그는 거짓말을 했다.".encode("cp949"), "CP949"),
        ("I lied.".encode("utf-16"), "UTF-16"),
        (b"\x1f\x8b\x08" + b"\xff" * 40, "gzip"),
    ],
)
def test_a_text_file_that_is_something_else_is_called_what_it_is(
    typed, tmp_path: Path, content: bytes, found: str
) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    refused(DataError, f"{tmp_path / 'a.txt'}: found", found, "wanted UTF-8 text", file=tmp_path / "a.txt")


@pytest.mark.timeout(20)
def test_situations_may_come_through_a_named_pipe(typed, tmp_path: Path) -> None:
    pipe = tmp_path / "some.json"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b'[{"id": "a", "text": "one"}]'), daemon=True)
    writer.start()
    assert [(one.id, one.text) for one in read_inputs([], pipe)] == [("a", "one")]
    writer.join()
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"no situations"), daemon=True)
    writer.start()
    refused(DataError, str(pipe), file=pipe)
    writer.join()


def test_a_files_name_is_not_taken_for_the_story(typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my story.txt").write_text("I lied.")
    Path("story.txt").write_text("I lied.")
    refused(UsageError, "did you mean --file story.txt?", words=["story.txt"])
    assert read_inputs(["no-such-story.txt"], None)[0].text == "no-such-story.txt"
    assert read_inputs(["I lied about story.txt"], None)[0].text == "I lied about story.txt"
    (tmp_path / "folder.json").mkdir()
    for name in ("folder.json", "."):
        refused(UsageError, f"{name}: found a folder; wanted a file", file=Path(name))

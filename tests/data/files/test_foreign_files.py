"""A file of another kind is told by its first bytes, with what makes a dataset of it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from redheart.data import read_dataset
from redheart.errors import DataError

ROWS = [{"id": "a", "text": "나는 거스름돈을 가졌다."}]
JSON = json.dumps(ROWS, ensure_ascii=False)


def _zip(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("data.json"))
    return out.getvalue()


def _sqlite(folder: Path) -> bytes:
    connection = sqlite3.connect(folder / "made.db")
    connection.execute("create table stories (id text)")
    connection.commit()
    connection.close()
    return (folder / "made.db").read_bytes()


def _numpy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


FILES: list[tuple[str, bytes, str, str]] = [
    ("parquet", b"PAR1\x15\x04\x15\x10\x15L\x15\x02\x15\x00" + bytes(range(256)) + b"PAR1", "a Parquet file", "read_parquet"),
    ("feather", b"ARROW1\x00\x00\xff\xff\xff\xff", "an Arrow (Feather) file", "read_feather"),
    ("arrow stream", b"\xff\xff\xff\xff\x10\x00", "an Arrow stream", "to_json"),
    ("xlsx", _zip("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook (.xlsx)", "read_excel"),
    ("zip", _zip("stories.json"), "a zip archive", "unzip"),
    ("torch", _zip("archive/data.pkl"), "a file of PyTorch's", "json.dump"),
    ("npz", _zip("texts.npy"), "arrays of NumPy (.npz)", "JSON"),
    ("xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an old Office file", "read_excel"),
    ("zstd", b"\x28\xb5\x2f\xfd\x04\x58", "a file that is compressed with zstd", "zstd -dc FILE > NEW"),
    ("gzip", gzip.compress(JSON.encode()), "a file that is compressed with gzip", "gzip -dc FILE > NEW"),
    ("bzip2", bz2.compress(JSON.encode()), "a file that is compressed with bzip2", "bzip2 -dc"),
    ("xz", lzma.compress(JSON.encode()), "a file that is compressed with xz", "xz -dc"),
    ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a pointer of Git LFS", "git lfs pull"),
    ("annex", b"/annex/objects/SHA256E-s9--0.json\n", "a pointer of git-annex", "git annex get"),
    ("pickle", pickle.dumps(ROWS), "a pickle, which is not opened", "json.dump"),
    ("old pickle", pickle.dumps(ROWS, 0), "a pickle, which is not opened", "json.dump"),
    ("numpy", _numpy(), "an array of NumPy", "JSON"),
    ("tar", _tar(), "a tar archive", "tar xf FILE"),
    ("hdf5", b"\x89HDF\r\n\x1a\n", "an HDF5 file", "read_hdf"),
    ("pdf", b"%PDF-1.7\n", "a PDF file", "JSON"),
    ("a login page", b"<!DOCTYPE html>\n<html>", "a web page", "a download gave a page"),
    ("xml", b'\xef\xbb\xbf<?xml version="1.0"?>', "XML", "JSON"),
    ("nul bytes", bytes(4096), "NUL bytes", "copy it again"),
    ("utf-16", JSON.encode("utf-16"), "looks like UTF-16", "iconv -f UTF-16 -t UTF-8"),
    ("utf-16 without a mark", JSON.encode("utf-16-le"), "looks like UTF-16LE", "iconv"),
    ("utf-16 of the other order", JSON.encode("utf-16-be"), "looks like UTF-16BE", "iconv"),
    ("utf-32", JSON.encode("utf-32"), "looks like UTF-32", "iconv"),
]  # fmt: skip


def line_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_dataset(path)
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize(("content", "found", "wanted"), [one[1:] for one in FILES], ids=[one[0] for one in FILES])
def test_a_file_of_another_kind_is_named_with_the_cure(tmp_path: Path, content: bytes, found: str, wanted: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    line = line_of(path)
    assert line.startswith(f"{path}: found ") and found in line.split("; wanted ")[0]
    assert wanted in line.split("; wanted ")[1] and "UTF-8 text: a JSON array" in line


def test_a_database_of_sqlite_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(_sqlite(tmp_path))
    assert "found an SQLite database; wanted" in line_of(path) and "sqlite3 -json" in line_of(path)


def test_korean_of_an_older_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(JSON.encode("cp949"))
    assert "(the file looks like CP949, as EUC-KR: iconv -f CP949 -t UTF-8" in line_of(path)
    path.write_bytes('[{"id": "a", "text": "caféé"}]'.encode("latin-1"))
    assert "byte 0xe9 at byte offset" in line_of(path) and "CP949" not in line_of(path)


@pytest.mark.parametrize(
    ("text", "name"),
    [("id,text\n1,abc\n", "CSV"), ("id\ttext\n1\tabc\n", "tab-separated"), ("- id: a\n  text: b\n", "YAML"), ("---\n- id", "YAML")],
)  # fmt: skip
def test_text_of_another_kind_is_named(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(text)
    line = line_of(path)
    assert "as the first character (the file looks like" in line and name in line


def test_a_dataset_is_not_taken_for_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    for start in ("", "\ufeff", "\n \t"):
        for content in (JSON, json.dumps(ROWS[0]), json.dumps(ROWS, indent=1)):
            path.write_text(start + content)
            assert len(read_dataset(path)) == 1

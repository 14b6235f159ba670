"""Forms of files that are taken for a dataset and are none, told by their first bytes, each with what makes JSON of it."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

_JSON = "UTF-8 text: a JSON array of situations, or JSON Lines"


class Foreign(NamedTuple):
    """What a file is, and what is wanted in its place."""

    found: str
    wanted: str


def _unpacked(program: str) -> str:
    return f"{program} -dc FILE > NEW"


def _by_pandas(reader: str) -> str:
    return f'pandas: {reader}("FILE").to_json("NEW", orient="records", lines=True)'


#: First bytes, what such a file is, and the cure. The longer of two that begin alike comes first.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "a Parquet file", _by_pandas("read_parquet")),
    (b"ARROW1", "an Arrow (Feather) file", _by_pandas("read_feather")),
    (b"FEA1", "a Feather file", _by_pandas("read_feather")),
    (b"\xff\xff\xff\xff", "an Arrow stream", "datasets: Dataset.from_file(FILE).to_json(NEW)"),
    (b"ORC", "an ORC file", _by_pandas("read_orc")),
    (b"Obj\x01", "an Avro file", "write it as JSON Lines (avro-tools tojson)"),
    (b"\x1f\x8b", "a file that is compressed with gzip", _unpacked("gzip")),
    (b"\x28\xb5\x2f\xfd", "a file that is compressed with zstd", _unpacked("zstd")),
    (b"BZh", "a file that is compressed with bzip2", _unpacked("bzip2")),
    (b"\xfd7zXZ\x00", "a file that is compressed with xz", _unpacked("xz")),
    (b"\x04\x22\x4d\x18", "a file that is compressed with lz4", _unpacked("lz4")),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it: 7z x FILE"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS, not the file it stands for", "git lfs pull"),
    (b"/annex/objects/", "a pointer of git-annex, not the file it stands for", "git annex get FILE"),
    (b"SQLite format 3\x00", "an SQLite database", 'sqlite3 -json FILE "select * from TABLE" > NEW'),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _by_pandas("read_hdf")),
    (b"\x93NUMPY", "an array of NumPy", "write the situations as JSON"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (such as .xls)", _by_pandas("read_excel")),
    (b"%PDF-", "a PDF file", "write the situations as JSON"),
    (b"\x89PNG\r\n\x1a\n", "a picture (PNG)", "name the dataset itself"),
    (b"\xff\xd8\xff", "a picture (JPEG)", "name the dataset itself"),
    (b"\x7fELF", "a program", "name the dataset itself"),
)
_YAML_KEY = re.compile(r"[A-Za-z_]\w*:(\s|$)")
_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"(lp0", b"(dp0", b"]q\x00", b"}q\x00")
#: What a zip archive holds, by a name inside.
_ZIPS: tuple[tuple[bytes, str, str], ...] = (
    (b"xl/", "an Excel workbook (.xlsx)", _by_pandas("read_excel")),
    (b"opendocument.spreadsheet", "a spreadsheet (.ods)", _by_pandas("read_excel")),
    (b"word/", "a Word document (.docx)", "write the situations as JSON"),
    (b"data.pkl", "a file of PyTorch's (torch.save)", "write the situations as JSON (json.dump) where it was made"),
    (b".npy", "arrays of NumPy (.npz)", "write the situations as JSON"),
)
_MARKUP = ((b"<!doctype html", "a web page"), (b"<html", "a web page"), (b"<?xml", "XML"), (b"<", "XML or a web page"))


def foreign_form(head: bytes) -> Foreign | None:
    """What a file is that begins with ``head``, where it can't be a dataset's text; None where it may be."""
    for start, name, cure in _SIGNATURES:
        if head.startswith(start):
            return Foreign(name, f"{_JSON} ({cure})")
    if head.startswith(b"PK\x03\x04"):
        known = next(((name, cure) for inside, name, cure in _ZIPS if inside in head), None)
        name, cure = known or ("a zip archive", "unpack it: unzip FILE")
        return Foreign(name, f"{_JSON} ({cure})")
    if head.startswith(_PICKLES):
        return Foreign(
            "a pickle, which is not opened, because it may run anything",
            f"{_JSON} (json.dump where it was made)",
        )
    if head[257:262] == b"ustar":
        return Foreign("a tar archive", f"{_JSON} (unpack it: tar xf FILE)")
    if head[:1] == b"\x00" and not head.strip(b"\x00"):
        return Foreign("NUL bytes, as an interrupted copy leaves them", f"{_JSON} (copy it again)")
    return _other_text(head)


def _other_text(head: bytes) -> Foreign | None:
    """Text in another encoding or another language of data."""
    encoding = _wide_encoding(head)
    if encoding is not None:
        return Foreign(f"text that looks like {encoding}", f"{_JSON} (iconv -f {encoding} -t UTF-8 FILE > NEW)")
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:16].lower()
    for mark, name in _MARKUP:
        if start.startswith(mark):
            hint = "a download gave a page in the file's place?" if name == "a web page" else "write it as JSON"
            return Foreign(name, f"{_JSON} ({hint})")
    return None


def _wide_encoding(head: bytes) -> str | None:
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    if head[:2] in (b"[\x00", b"{\x00"):
        return "UTF-16LE" if head[2:4] != b"\x00\x00" else "UTF-32LE"
    return "UTF-16BE" if head[:2] in (b"\x00[", b"\x00{") else None


def encoding_of(head: bytes) -> str:
    """A hint at the encoding of bytes that are not UTF-8; "" where nothing speaks for one."""
    try:
        text = codecs.getincrementaldecoder("cp949")("strict").decode(head)
    except UnicodeDecodeError:
        return ""
    hangul = sum("가" <= one <= "힣" for one in text)
    foreign = sum(not one.isascii() for one in text)
    return " (the file looks like CP949, as EUC-KR: iconv -f CP949 -t UTF-8 FILE > NEW)" if 2 * hangul > foreign else ""


def other_language(text: str) -> str:
    """A hint at what text is that begins neither as an array nor as an object; "" where nothing tells."""
    line = text.lstrip().partition("\n")[0]
    if line.startswith(("---", "- ")) or _YAML_KEY.match(line):
        is_ours = all(f"\n{section}:\n" in text for section in ("data", "embedding"))
        return " (the file looks like a run's settings: config.yaml)" if is_ours else " (the file looks like YAML)"
    if _LOG_LINE.match(line):
        return " (the file looks like a log)"
    for delimiter, name in (("\t", "tab-separated values"), (",", "CSV"), (";", "CSV")):
        if line.count(delimiter):
            return (
                f' (the file looks like {name}: pandas: read_csv("FILE").to_json("NEW", orient="records", lines=True))'
            )
    return ""

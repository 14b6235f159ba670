"""Files that are whole or absent: atomic writes, hashes and append-only logs that survive a kill."""

from redheart.storage.atomic import (
    fingerprint,
    read_json,
    replace_file,
    sha256_of,
    write_bytes,
    write_json,
    write_text,
)
from redheart.storage.jsonl import append_line, read_lines
from redheart.storage.replace_folder import replace_folder
from redheart.storage.structs import Json, Scalar, as_struct, read_struct, without_nonfinite

__all__ = [
    "Json",
    "Scalar",
    "append_line",
    "as_struct",
    "fingerprint",
    "read_json",
    "read_lines",
    "read_struct",
    "replace_file",
    "replace_folder",
    "sha256_of",
    "without_nonfinite",
    "write_bytes",
    "write_json",
    "write_text",
]

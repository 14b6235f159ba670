"""A writer to be killed: replaces a file in a loop by 40,000 copies of one letter, another letter each time.

Run as ``python -m tests.storage.killed_writer FILE``; says ``ready`` when the first is in place.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from redheart.storage import write_text

COPIES = 40_000

if __name__ == "__main__":
    for letter in itertools.cycle("abcdefghij"):
        write_text(Path(sys.argv[1]), letter * COPIES)
        if letter == "a":
            print("ready", flush=True)

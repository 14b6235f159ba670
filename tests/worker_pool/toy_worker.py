"""NOT a worker of the program: one that does as it is told, so that the pool can be tested without any training."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from redheart.errors import StorageError
from redheart.worker_pool import Parent, entry, run_as_worker


def _work(parent: Parent) -> None:
    job = json.loads(parent.job)
    entry.GRACE = job["grace"]
    sys.stdout.write(f"began with {job['word']}\n")
    sys.stdout.flush()
    for task in parent.tasks():
        asked = json.loads(task)
        if asked == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif asked == "fail":
            raise StorageError("the toy worker fails as it was asked to")
        elif asked == "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            parent.answer(b'"hanging"')
            time.sleep(600)
        else:
            told = {"word": job["word"], "asked": asked, "pid": os.getpid(), "input": sys.stdin.read()}
            parent.answer(json.dumps({**told, "environment": dict(os.environ)}).encode())


if __name__ == "__main__":
    sys.exit(run_as_worker(_work))

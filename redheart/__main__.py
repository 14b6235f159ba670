"""The entry point of ``redheart`` and of ``python -m redheart``, which ``accelerate launch -m`` starts.

It imports next to nothing by itself, so that a Ctrl-C while the rest is being imported is met with one line too.
"""

import sys


def main() -> int:
    """The command ``redheart``; its exit code."""
    try:
        from redheart.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        print("redheart: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

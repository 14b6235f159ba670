"""The entry point ``python -m redheart``: the same as the command ``redheart``; ``accelerate launch -m`` starts it."""

import sys

from redheart.cli.main import main

sys.exit(main())

"""``python -m redheart``: the same as the command ``redheart``; what ``accelerate launch -m`` starts."""

import sys

from redheart.cli.main import main

sys.exit(main())

"""`python -m runcast`: the same as the command `runcast`."""

import sys

from runcast._cli import main

sys.exit(main())

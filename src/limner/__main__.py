"""`python -m limner` is `limner`."""

import sys

from limner.cli import main

sys.exit(main())

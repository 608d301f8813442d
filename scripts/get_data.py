"""A data set of others: python scripts/get_data.py vqa_v2 --to data/vqa_v2

The same as `limner data get`; src/limner/fetch/sets.yaml has every file, address, size and checksum that is known.
"""

from __future__ import annotations

import sys

from limner.errors import UserError
from limner.fetch.command import main

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"get_data: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

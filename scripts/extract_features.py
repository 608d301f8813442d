"""Region features of a folder of pictures: python scripts/extract_features.py images=DIR out=FILE extractor=components

The same as `limner features extract`; conf/extract.yaml explains every key.
"""

from __future__ import annotations

import sys

from limner.errors import UserError
from limner.extract.command import main

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"extract_features: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

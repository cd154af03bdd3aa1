"""`python -m vitascope` and the `vitascope` command."""

from __future__ import annotations

import sys

from vitascope.cli import main

if __name__ == "__main__":
    sys.exit(main())

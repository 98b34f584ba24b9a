"""`python -m zcolor` is the `zcolor` command."""

import sys

from zcolor.apps.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""Count the colours of photographs into a prior: `zcolor priors` as a script."""

import sys

from zcolor.apps.cli import main

if __name__ == "__main__":
    sys.exit(main(["priors", *sys.argv[1:]]))

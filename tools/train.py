"""Train a colorizer on photographs: `zcolor train` as a script."""

import sys

from zcolor.apps.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))

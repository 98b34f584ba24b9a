"""Pack photographs for training into one HDF5 file: `zcolor pack` as a script."""

import sys

from zcolor.apps.cli import main

if __name__ == "__main__":
    sys.exit(main(["pack", *sys.argv[1:]]))

"""Run a sweep: ``python run_sweep.py search_spaces/quick.yaml``."""

import sys

from aurl.cli import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))

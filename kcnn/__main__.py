"""`python -m kcnn` is `kcnn`."""

import sys

from kcnn.cli.start import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks``, in the checkout; ``bin/bench`` works anywhere."""

from __future__ import annotations

import sys

from benchmarks.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

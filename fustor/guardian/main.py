"""
The guardian's program: ``python -I -S fustor/guardian/main.py CONFIG.json``.

Deliberately tiny: a script is compiled at every start, while imported modules come from the cache.
Exit codes: 0 stopped by a signal; 2 bad usage or configuration; 98 a port is in use; 100 another guardian is running;
1 this host failed us. Whatever is not 0 was said on stderr, and nothing had been started.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run until stopped; the exit code."""
    # -I -S leave neither our folder nor site-packages in sys.path. Last: the standard library must not be shadowed.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from fustor.guardian.keeper import guard

    return guard(__file__, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

"""
The door of every command: finds a Python that is new enough.

Written so that Python 3.6 can read it and say what is missing. What happens then is in ``_environment.py``, which is
read by the right Python only.
"""

import os
import shutil
import sys

#: The oldest Python that runs the project; ``requires-python`` in pyproject.toml says the same.
OLDEST = (3, 11)
#: Tried, newest last known first, when ``python3`` itself is too old.
OTHERS = ("python3.14", "python3.13", "python3.12", "python3.11")


def require_python() -> None:
    """Return when this Python is new enough; else run the command again with one that is, or exit 1 with the reason."""
    if sys.version_info[:2] >= OLDEST:
        return
    for name in OTHERS:
        other = shutil.which(name)
        if other:
            os.execv(other, [other, *sys.argv])
    version = ".".join(map(str, sys.version_info[:2]))
    oldest = ".".join(map(str, OLDEST))
    sys.exit(
        f"{os.path.basename(sys.argv[0])}: Python {oldest} or newer is needed; {sys.executable} is {version}, "
        "and no newer one is on the PATH.\n"
        "Install one (Debian 12+, Ubuntu 24.04+: apt install python3 python3-venv) and run this command again."
    )


require_python()

from _environment import environment  # noqa: E402 - not before the version is known to be right

__all__ = ["environment"]

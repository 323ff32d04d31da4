"""``python -P -m fustor.admin``: see :mod:`fustor.admin.app`."""

from __future__ import annotations

from fustor.admin.app import main

main()

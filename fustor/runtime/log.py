"""
Logging: one line per record on stderr.

``2026-01-31T12:00:00.123Z INFO view.main committed generation=7 rows=512``. Fields given as ``extra`` become
``key=value``. A traceback follows its record, indented, so that a line that begins with a year always begins a record.
Where stderr goes, and how large it may grow, is the guardian's business.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

from protocols.errors import ConfigError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _value(value: object) -> str:
    """A value as one word: quoted when it holds anything that would make it two."""
    text = str(value)
    plain = text.isprintable() and not any(c in " \"'=" for c in text)
    return text if plain and text else json.dumps(text, ensure_ascii=False)


class LineFormatter(logging.Formatter):
    """
    Args:
        name: of the process, in every line.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        """The line of ``record``, and its traceback if it has one."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        extras = "".join(f" {k}={_value(v)}" for k, v in vars(record).items() if k not in _STANDARD)
        line = f"{time} {record.levelname} {self._name} {message}{extras}"
        if record.exc_info:
            line += "\n" + "\n".join(f"  {part}" for part in self.formatException(record.exc_info).splitlines())
        return line


def setup_logging(name: str) -> logging.Logger:
    """
    Send the records of this process to stderr; the level is ``FUSTOR_LOG`` (default ``INFO``).

    Raises:
        ConfigError: ``FUSTOR_LOG`` is no level.
    """
    level = os.environ.get("FUSTOR_LOG", "INFO").upper()
    if level not in LEVELS:
        raise ConfigError("FUSTOR_LOG", level, f"one of {', '.join(LEVELS)} is accepted")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(name))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    return logging.getLogger(name)

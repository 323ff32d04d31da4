"""
Tables of text: CSV, TSV and their like (RFC 4180, as far as anybody keeps to it), by the csv module.

Only the beginning is read; the rows of a larger file are estimated by the length of those that were seen.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from protocols.parsing import MOST_CHARACTERS, MOST_ELEMENTS

_DELIMITERS = ",\t;|"


def read(file: BinaryIO, *, delimiter: str = "", header: bool = True, most_bytes: int = 64 << 10) -> Mapping[str, Any]:
    """
    ``delimiter``, ``columns`` (how many), ``header`` (their names, unless ``header`` is false), ``rows`` without the
    header, and whether that number is ``exact``.

    Args:
        delimiter: of the file; empty: found out.

    Raises:
        ValueError: it is no table.
    """
    sample = file.read(most_bytes)
    size = os.fstat(file.fileno()).st_size
    whole = len(sample) >= size
    if not whole:
        sample = sample[: sample.rfind(b"\n") + 1]
        if not sample:
            raise ValueError(f"no line ends within {most_bytes} bytes")
    if b"\0" in sample:
        raise ValueError("it has NUL bytes: it is no text")
    text = sample.decode("utf-8-sig", "replace")
    if not text.strip():
        return {"columns": 0, "rows": 0, "exact": True}
    if not delimiter:
        try:
            delimiter = csv.Sniffer().sniff(text[: 16 << 10], _DELIMITERS).delimiter
        except csv.Error:
            delimiter = ","  # a single column, for all that can be seen
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error as error:
        raise ValueError(str(error)) from None
    found: dict[str, Any] = {"delimiter": delimiter, "columns": len(rows[0])}
    count = len(rows)
    if header:
        found["header"] = [name[:MOST_CHARACTERS] for name in rows[0][:MOST_ELEMENTS]]
        count -= 1
    found["rows"] = count if whole else round(size / len(sample) * len(rows)) - bool(header)
    found["exact"] = whole
    return found

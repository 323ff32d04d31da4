"""Reading a file by one of the formats that come with Fustor."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from actors.parser.formats import find
from protocols.parsing import check_attributes

#: Name → content of what is in the archives below.
CONTENTS = {f"folder/file{number}": b"x" * number for number in range(100)}


def read(name: str, content: bytes | Path, **options: Any) -> dict[str, Any]:
    """What a format finds; always something that may be an attribute."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            found = dict(find(name)(file, **options))
    else:
        found = dict(find(name)(io.BytesIO(content), **options))
    check_attributes(found)
    return found


def zipped() -> bytes:
    """A zip file of ``CONTENTS``."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in CONTENTS.items():
            archive.writestr(name, content)
    return made.getvalue()


def tarred(mode: str = "w", kind: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar file of ``CONTENTS``."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode, format=kind) as archive:  # type: ignore[call-overload]
        for name, content in CONTENTS.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()

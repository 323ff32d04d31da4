"""Plug-ins of parsers, as packages and as wheels."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

#: Counts the words of a file; kills whoever reads some.
WORDS = """
import ctypes
import time


def read(file, *, most_bytes: int = 65536):
    words = file.read(most_bytes).split()
    if b"segfault" in words:
        ctypes.string_at(0)
    if b"hang" in words:
        while True:
            time.sleep(0)
    if b"memory" in words:
        hoard = []
        while True:
            hoard.append(bytearray(16 << 20))
    return {"words": len(words)}
"""


_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _files(module: str, text: str) -> dict[str, str]:
    return {
        f"{module}.py": text,
        f"{module}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n",
        f"{module}-1.0.dist-info/WHEEL": _WHEEL,
        f"{module}-1.0.dist-info/entry_points.txt": f"[fustor.parsers]\n{module} = {module}:read\n",
    }


def install(folder: Path, module: str, text: str) -> None:
    """As an installer leaves it in a folder of ``sys.path``."""
    for path, content in _files(module, text).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)


def wheel(folder: Path, module: str, text: str) -> Path:
    """A wheel of it (the binary distribution format)."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{module}-1.0-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in _files(module, text).items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(content)}")
            archive.writestr(path, content)
        own = f"{module}-1.0.dist-info/RECORD"
        archive.writestr(own, "\n".join([*record, f"{own},,"]) + "\n")
    return file

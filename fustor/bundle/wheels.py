"""
Third-party packages for a bundle: the content of wheels, as an installer would put it into ``site-packages``.

Scripts, headers and data of a wheel are left out: nothing of that kind is used. Whoever builds a bundle trusts these
files; what is checked is that they are whole (``RECORD``) and fit this interpreter.

What this module does not do: download, choose versions, or look whether anything is missing.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import sys
import zipfile
import zlib

import attrs

from fustor.bundle.collect import IN_PART, WHOLE
from fustor.bundle.manifest import platform_here
from protocols.errors import BundleError, MachineError

#: Top-level names that would take the place of something else, because a bundle comes first on the path.
_TAKEN = frozenset({*WHOLE, *IN_PART, "sitecustomize", "usercustomize", *sys.stdlib_module_names})
#: distribution-version(-build)?-python-abi-platform.whl, see the binary distribution format (PEP 427).
_NAME = re.compile(r"([^-]+)-([^-]+)(?:-\d[^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl")


@attrs.frozen
class Wheels:
    """
    Attributes:
        names: file names, sorted.
        files: content by path.
        is_native: some hold code for one platform.
    """

    names: tuple[str, ...] = ()
    files: dict[str, bytes] = attrs.Factory(dict)
    is_native: bool = False


def load(folder: str) -> Wheels:
    """
    All wheels of a folder.

    Raises:
        BundleError: there are none, one is damaged or not for this interpreter, or two are in each other's way.
        MachineError: they can't be read.
    """
    try:
        names = tuple(sorted(name for name in os.listdir(folder) if name.endswith(".whl")))
        if not names:
            raise BundleError(f"{folder}: there are no wheels in it; pip download --dest {folder} makes some")
        files: dict[str, bytes] = {}
        owners: dict[str, str] = {}
        is_native = False
        for name in names:
            distribution, tags = _parse(name)
            if not fits(*tags):
                raise BundleError(f"{name}: it is not for this interpreter ({platform_here()})")
            if distribution in owners:
                raise BundleError(f"{name}: {owners[distribution]} is the same distribution")
            owners[distribution] = name
            is_native |= tags[2] != "any"
            for path, content in _content(os.path.join(folder, name)).items():
                if files.setdefault(path, content) != content:
                    raise BundleError(f"{name}: another wheel has {path} with another content")
    except OSError as error:
        raise MachineError(f"{error.filename or folder} can't be read: {error.strerror}") from error
    return Wheels(names, files, is_native)


def _parse(name: str) -> tuple[str, tuple[str, str, str]]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise BundleError(f"{name}: not the name of a wheel")
    return re.sub(r"[-_.]+", "-", match[1]).lower(), (match[3], match[4], match[5])


def fits(pythons: str, abis: str, platforms: str) -> bool:
    """
    Whether a wheel with these tags (PEP 425; several are joined by dots) can be used by this interpreter.

    The version of the C library is not compared: what runs a bundle first tries whether it can be imported.
    """
    major, minor = sys.version_info[:2]
    exact, libc = f"cp{major}{minor}", "musllinux" if platform_here().endswith("-musl") else "manylinux"
    pure = {exact, f"py{major}", *(f"py{major}{number}" for number in range(minor + 1))}
    stable = {f"cp{major}{number}" for number in range(2, minor + 1)}
    machine = f"_{os.uname().machine}"

    def is_ours(python: str, abi: str) -> bool:
        return (abi == "none" and python in pure) or (abi == "abi3" and python in stable) or python == abi == exact

    def is_here(platform: str) -> bool:
        return platform == "any" or (platform.startswith((libc, "linux_")) and platform.endswith(machine))

    return any(map(is_here, platforms.split("."))) and any(
        is_ours(python, abi) for python in pythons.split(".") for abi in abis.split(".")
    )


def _content(path: str) -> dict[str, bytes]:
    """The files of one wheel by where they are installed."""
    name = os.path.basename(path)
    try:
        with zipfile.ZipFile(path) as wheel:
            inside = {info.filename: wheel.read(info) for info in wheel.infolist() if not info.is_dir()}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise BundleError(f"{name}: it is damaged: {error}") from None
    _check_record(name, inside)
    files = {}
    for member, content in inside.items():
        place = _place(member)
        if place is None:
            continue
        top = place.split("/", 1)[0].split(".", 1)[0]
        if top in _TAKEN:
            raise BundleError(f"{name}: {member} would take the place of {top}")
        files[place] = content
    return files


def _place(member: str) -> str | None:
    """Where a member is installed below the folder; None for nowhere."""
    first, _, rest = member.partition("/")
    if not first.endswith(".data"):
        return member
    scheme, _, below = rest.partition("/")
    return below if scheme in ("purelib", "platlib") else None


def _check_record(name: str, inside: dict[str, bytes]) -> None:
    records = [member for member in inside if re.fullmatch(r"[^/]+\.dist-info/RECORD", member)]
    if len(records) != 1:
        raise BundleError(f"{name}: a wheel has one RECORD, this has {len(records)}")
    try:
        rows = list(csv.reader(io.StringIO(inside[records[0]].decode(), newline="")))
        digests = {row[0]: row[1] for row in rows if len(row) == 3}
    except (UnicodeDecodeError, csv.Error) as error:
        raise BundleError(f"{name}: its RECORD can't be read: {error}") from None
    for member, content in inside.items():
        if member == records[0] or member.endswith((".jws", ".p7s")):
            continue
        algorithm, _, digest = digests.get(member, "").partition("=")
        if algorithm not in ("sha256", "sha384", "sha512"):
            raise BundleError(f"{name}: its RECORD says no digest of {member}")
        found = base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest()).rstrip(b"=").decode()
        if found != digest:
            raise BundleError(f"{name}: {member} is not the file that its RECORD names")

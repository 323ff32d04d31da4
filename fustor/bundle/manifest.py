"""
The manifest of a bundle: what is in it, which Python, protocol and shell it needs. Its SHA-256 is the digest by which
the bundle is known.

An unknown key is refused, unlike in messages: it may be a condition, and who does not know it can't tell whether it
holds. A new kind of condition is a new :data:`FORMAT`.

What this module does not do: read files, or say who made the bundle (:mod:`fustor.bundle.signature`).
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import re
import sys
from collections.abc import Iterable
from typing import Any

import attrs

from fustor.bundle import canonical
from fustor.runtime.config import ConfigFaults, between, matching, shorten, structure
from protocols.codec import VERSION
from protocols.errors import BundleError, ConfigError
from protocols.lifeline import SHELL_VERSIONS

#: Of manifests that this program reads and writes.
FORMAT = 1

#: Names of the two members of a bundle that are not in its manifest.
MANIFEST, SIGNATURES = "manifest.json", "signatures.json"

#: Characters of a path; with the longest state folder it is still far from PATH_MAX (4096).
PATH_CHARACTERS = 400
#: Characters of one component of a path; NAME_MAX is 255.
COMPONENT_CHARACTERS = 200
#: What some file system or shell takes for something else.
_SPECIAL = frozenset('/\\:*?"<>|')
_WHEEL = re.compile(r"[A-Za-z0-9._+!-]{1,200}\.whl")
_SHA256 = r"[0-9a-f]{64}"


@attrs.frozen(kw_only=True)
class BundleLimits:
    """
    What is taken of a stranger's file.

    Attributes:
        files: in a bundle.
        file_bytes: of one file.
        total_bytes: of all files.
        manifest_bytes: of the manifest.
    """

    files: int = attrs.field(default=20_000, validator=between(1, 60_000))
    file_bytes: int = attrs.field(default=64 << 20, validator=between(1, 1 << 30))
    total_bytes: int = attrs.field(default=512 << 20, validator=between(1, 3 << 30))
    manifest_bytes: int = attrs.field(default=8 << 20, validator=between(1, 64 << 20))


def _range(instance: object, attribute: attrs.Attribute[Any], value: tuple[int, ...]) -> None:
    if len(value) != 2 or not 0 <= value[0] <= value[1] <= 1 << 31:
        raise ConfigError(attribute.name, value, "oldest and newest version are accepted, in this order")


@attrs.frozen(kw_only=True)
class File:
    """A file of the bundle: its size in bytes and its digest, in hexadecimal."""

    size: int = attrs.field(validator=between(0, 1 << 40))
    sha256: str = attrs.field(validator=matching(_SHA256, "64 hexadecimal digits"))

    @classmethod
    def of(cls, content: bytes) -> File:
        """Of a file with this content."""
        return cls(size=len(content), sha256=hashlib.sha256(content).hexdigest())


@attrs.frozen(kw_only=True)
class Python:
    """
    The interpreter that bytecode and extension modules are for.

    Attributes:
        implementation: ``cpython``.
        version: major and minor: ``3.11``.
        cache_tag: part of the names of bytecode files: ``cpython-311``.
    """

    implementation: str = attrs.field(validator=matching("[a-z0-9_]{1,32}", "the name of an implementation"))
    version: str = attrs.field(validator=matching(r"\d{1,3}\.\d{1,3}", "major and minor version"))
    cache_tag: str = attrs.field(validator=matching("[a-z0-9_-]{1,64}", "a cache tag"))

    @classmethod
    def here(cls) -> Python:
        """The one that runs this."""
        return cls(
            implementation=sys.implementation.name,
            version=f"{sys.version_info.major}.{sys.version_info.minor}",
            cache_tag=sys.implementation.cache_tag or "",
        )


@attrs.frozen(kw_only=True)
class Needs:
    """
    Versions of the other side that the bundle gets on with, oldest and newest.

    Attributes:
        protocol: of messages, :data:`protocols.codec.VERSION`.
        shell: of what a shell gives its payloads, :data:`protocols.lifeline.SHELL_VERSIONS`.
    """

    protocol: tuple[int, ...] = attrs.field(validator=_range)
    shell: tuple[int, ...] = attrs.field(validator=_range)

    @classmethod
    def here(cls) -> Needs:
        """Those of this program."""
        return cls(protocol=(VERSION, VERSION), shell=SHELL_VERSIONS)


def _known_format(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value != FORMAT:
        raise ConfigError(attribute.name, value, f"{FORMAT} is accepted; a newer program reads newer bundles")


def _wheel_names(instance: object, attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for name in value:
        if _WHEEL.fullmatch(name) is None:
            raise ConfigError(attribute.name, shorten(name), "file names of wheels are accepted")


def _paths(instance: object, attribute: attrs.Attribute[Any], value: dict[str, File]) -> None:
    check_paths(value)


@attrs.frozen(kw_only=True)
class Manifest:
    """
    What a bundle says of itself.

    Attributes:
        format: :data:`FORMAT`.
        name: for people.
        version: of the program it was made of, for people; what tells bundles apart is the digest.
        python: the interpreter it is for.
        platform: ABI of its extension modules, as in their file names (``cpython-311-x86_64-linux-gnu``); empty when it
            has none, so that it runs on any.
        needs: versions of the other side.
        wheels: file names of the wheels whose content is in it, sorted.
        files: every file by its path below the bundle's folder.
    """

    format: int = attrs.field(validator=_known_format)
    name: str = attrs.field(
        validator=matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "1 to 63 of letters, digits, '.', '-' and '_'")
    )
    version: str = attrs.field(validator=matching(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,62}", "a version"))
    python: Python
    platform: str = attrs.field(validator=matching("[A-Za-z0-9_-]{0,100}", "the name of an ABI, or nothing,"))
    needs: Needs
    wheels: tuple[str, ...] = attrs.field(validator=_wheel_names)
    files: dict[str, File] = attrs.field(validator=_paths)

    @property
    def total_bytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files.values())

    def encode(self) -> bytes:
        """The canonical text."""
        return canonical.encode(attrs.asdict(self))


def digest_of(text: bytes) -> str:
    """The digest of a bundle with this manifest: SHA-256, hexadecimal."""
    return hashlib.sha256(text).hexdigest()


def decode(text: bytes, limits: BundleLimits) -> Manifest:
    """
    The manifest in ``text``.

    Raises:
        BundleError: it is none, or beyond the limits; names every field that is wrong.
    """
    data = canonical.decode(text, MANIFEST, limits.manifest_bytes)
    if isinstance(data, dict) and type(data.get("format")) is int and data["format"] != FORMAT:
        # Nothing else can be said of it: other formats have other keys.
        raise BundleError(f"{MANIFEST}: format = {data['format']}: {FORMAT} is accepted; a newer program reads it")
    try:
        found = structure(Manifest, data)
    except ConfigFaults as error:
        raise BundleError("\n".join(f"{MANIFEST}: {fault}" for fault in error.faults[:20])) from None
    largest = max((file.size for file in found.files.values()), default=0)
    for what, value, most in (
        ("files", len(found.files), limits.files),
        ("bytes in one file", largest, limits.file_bytes),
        ("bytes in all files", found.total_bytes, limits.total_bytes),
    ):
        if value > most:
            raise BundleError(f"{MANIFEST}: {value} {what}, at most {most} are accepted")
    return found


def check_paths(paths: Iterable[str]) -> None:
    """
    That every path leads to a place of its own below the bundle's folder, on any file system.

    Raises:
        ConfigError: names the first that does not.
    """
    #: Every file and folder, as a file system would see it that ignores case → as it is written, and which it is.
    places = {name: (name, True) for name in (MANIFEST, SIGNATURES)}
    for path in sorted(paths):
        if path in (MANIFEST, SIGNATURES):
            raise ConfigError("files", path, "a name that the bundle does not need for itself is accepted")
        parts = path.split("/")
        if len(path) > PATH_CHARACTERS or not all(map(_is_component, parts)):
            raise ConfigError("files", shorten(path), _ACCEPTED_PATHS)
        for depth in range(1, len(parts) + 1):
            place, is_file = "/".join(parts[:depth]), depth == len(parts)
            known = places.setdefault(place.lower(), (place, is_file))
            if known != (place, is_file):
                raise ConfigError("files", path, f"a path that does not collide with {known[0]!r} is accepted")


_ACCEPTED_PATHS = (
    f"relative paths of up to {PATH_CHARACTERS} characters are accepted, their components of up to "
    f"{COMPONENT_CHARACTERS} of printable ASCII without {' '.join(sorted(_SPECIAL))} and a space or dot at the end"
)


def _is_component(text: str) -> bool:
    return (
        0 < len(text) <= COMPONENT_CHARACTERS
        and text.isascii()
        and text.isprintable()
        and text[-1] not in ". "
        and _SPECIAL.isdisjoint(text)
    )


def platform_here() -> str:
    """The ABI of extension modules that this interpreter loads, see :attr:`Manifest.platform`."""
    return importlib.machinery.EXTENSION_SUFFIXES[0].strip(".").removesuffix(".so")


def unmet(manifest: Manifest, python: Python, platform: str, offered: Needs) -> list[str]:
    """
    Why a bundle can't run somewhere; nothing when it can.

    Args:
        manifest: of the bundle.
        python, platform: of the host.
        offered: versions that the shell there keeps; ranges that overlap get on.
    """
    reasons = []
    if manifest.python != python:
        needed, found = manifest.python, python
        reasons.append(
            f"it is for {needed.implementation} {needed.version} ({needed.cache_tag}), "
            f"this is {found.implementation} {found.version} ({found.cache_tag})"
        )
    if manifest.platform not in ("", platform):
        reasons.append(f"its extension modules are for {manifest.platform}, this is {platform}")
    for what in ("protocol", "shell"):
        low, high = getattr(manifest.needs, what)
        lowest, highest = getattr(offered, what)
        if high < lowest or highest < low:
            reasons.append(f"it needs {what} {span((low, high))}, here is {span((lowest, highest))}")
    return reasons


def unmet_here(manifest: Manifest) -> list[str]:
    """As :func:`unmet`, for this program on this interpreter."""
    return unmet(manifest, Python.here(), platform_here(), Needs.here())


def span(versions: tuple[int, ...]) -> str:
    """A range of versions for people."""
    return str(versions[0]) if versions[0] == versions[1] else f"{versions[0]} to {versions[1]}"

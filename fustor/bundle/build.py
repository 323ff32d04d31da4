"""
A bundle of this program: its data plane and shells, their bytecode, and wheels. The same source gives the same bytes.

What this module does not do: sign, or write files.
"""

from __future__ import annotations

import importlib.util
import os

import attrs

import fustor
from fustor.bundle import archive, bytecode, signature
from fustor.bundle.collect import IN_PART, WHOLE, sources
from fustor.bundle.manifest import (
    FORMAT,
    MANIFEST,
    SIGNATURES,
    BundleLimits,
    File,
    Manifest,
    Needs,
    Python,
    decode,
    digest_of,
    platform_here,
)
from fustor.bundle.reading import Bundle
from fustor.bundle.signature import Signature
from fustor.bundle.wheels import Wheels
from protocols.errors import BundleError


@attrs.frozen
class Built:
    """
    Attributes:
        manifest: of the bundle.
        digest: of the bundle.
        content: the file, without a signature.
    """

    manifest: Manifest
    digest: str
    content: bytes


def root_of_program() -> str:
    """
    The folder that the packages of this program are in.

    Raises:
        BundleError: they are not in one: it would be a mixture.
    """
    specs = [importlib.util.find_spec(package) for package in (*WHOLE, *IN_PART)]
    roots = {os.path.dirname(os.path.dirname(spec.origin)) if spec and spec.origin else "(nowhere)" for spec in specs}
    if len(roots) > 1:
        raise BundleError(f"the packages of this program are in several places: {', '.join(sorted(roots))}")
    return roots.pop()


def build(name: str, wheels: Wheels, limits: BundleLimits | None = None) -> Built:
    """
    The bundle of this program.

    Args:
        name: of the bundle, for people.
        wheels: what it shall bring beside our own code.
        limits: what those who take it will accept.

    Raises:
        BundleError: it can't be made of what there is, or nobody would take it.
        MachineError: the source can't be read.
        RequestError: this process compiles in another way than others.
    """
    bytecode.check_compiler()
    own = sources(root_of_program())
    files = {**wheels.files, **own}
    for path, source in own.items():
        files[bytecode.cached_path(path)] = bytecode.compiled(path, source)
    for path, source in wheels.files.items():
        cached = bytecode.cached_path(path)
        if path.endswith(".py") and cached not in files:
            try:
                files[cached] = bytecode.compiled(path, source)
            except BundleError:
                continue  # a template, or for another Python: whoever imports it is told
    made = Manifest(
        format=FORMAT,
        name=name,
        version=fustor.__version__,
        python=Python.here(),
        platform=platform_here() if wheels.is_native else "",
        needs=Needs.here(),
        wheels=wheels.names,
        files={path: File.of(content) for path, content in files.items()},
    )
    text = made.encode()
    decode(text, limits or BundleLimits())
    members = [(MANIFEST, text), (SIGNATURES, signature.encode(())), *sorted(files.items())]
    return Built(made, digest_of(text), archive.pack(members))


def with_signature(bundle: Bundle, added: Signature) -> bytes:
    """
    The file of ``bundle`` with one more signature; an older one of the same key is replaced.

    Raises:
        BundleError: a file of the bundle is not what its manifest says.
        ConfigError: it has too many.
    """
    others = [one for one in bundle.signatures if one.key != added.key]
    files = ((path, b"".join(bundle.blocks(path))) for path in sorted(bundle.manifest.files))
    return archive.pack([(MANIFEST, bundle.manifest_text), (SIGNATURES, signature.encode([*others, added])), *files])

"""
Bytecode that is the same for the same source, whoever compiles it, where and when.

Compiled without optimisation, with the path inside the bundle in it (the import system puts the real one there), and
marked as *unchecked hash-based* (PEP 552): it is used without a look at the source's time or content, which the
manifest vouches for.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
import warnings

from protocols.errors import BundleError, RequestError

#: Bit 0: hash-based; bit 1, unset: the hash is not compared with the source (PEP 552).
_UNCHECKED = (0b01).to_bytes(4, "little")

#: Later formats of marshal note which strings are interned and which objects have one reference only. Before Python
#: 3.13 that depends on what else the process has done; from then on constants are all interned.
_MARSHAL = 2 if sys.version_info < (3, 13) else marshal.version


def cached_path(path: str) -> str:
    """Where the bytecode of a module is looked for (PEP 3147); ``PYTHONPYCACHEPREFIX`` of this process is no matter."""
    folder, name = os.path.split(path)
    return os.path.join(folder, "__pycache__", f"{name.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc")


def compiled(path: str, source: bytes) -> bytes:
    """
    The bytecode file of a module.

    Args:
        path: of the source, inside the bundle.
        source: its content.

    Raises:
        BundleError: it can't be compiled.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the source; linters say them
            code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the latter: nested too deeply
        raise BundleError(f"{path}: it can't be compiled: {error}") from None
    head = importlib.util.MAGIC_NUMBER, _UNCHECKED, importlib.util.source_hash(source)
    return b"".join((*head, marshal.dumps(code, _MARSHAL)))


def check_compiler() -> None:
    """
    That this process compiles as every other one does.

    Raises:
        RequestError: it leaves out columns, which tracebacks show (``-X no_debug_ranges``).
    """
    positions = next(iter(compile("a", "a", "eval").co_positions()))
    if None in positions:
        raise RequestError("PYTHONNODEBUGRANGES", "1", "bytecode with columns is accepted: unset it")

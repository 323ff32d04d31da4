"""
Which modules are in a bundle: all of ``actors`` and ``protocols``, the shells, and what they import of ``fustor``,
directly and through each other. Computed from the source, so a new import needs no list to be kept.

What this module does not do: import or run what it looks at. A module that is only named in a text (``"fustor.x"``)
is not found; the layers (``pyproject.toml``) leave no need for it.
"""

from __future__ import annotations

import ast
import importlib.util
import os
from collections.abc import Iterator

from protocols.errors import BundleError, MachineError

#: Packages that are taken as a whole.
WHOLE = ("actors", "protocols")
#: Packages of which only what is imported is taken, and the shells in them.
IN_PART = ("fustor",)
SHELLS = ("fustor.agent", "fustor.fusion", "fustor.guardian")


def sources(root: str) -> dict[str, bytes]:
    """
    The data plane and the shells in the folder ``root``, which holds the packages.

    Returns:
        Content by path below ``root``, sorted.

    Raises:
        BundleError: a module can't be parsed, or imports one of ours that is not there.
        MachineError: the folder can't be read.
    """
    try:
        paths = {_module_of(path): path for package in (*WHOLE, *IN_PART) for path in _modules_in(root, package)}
        found: dict[str, bytes] = {}
        wanted = [module for module in paths if f"{module}.".startswith(tuple(f"{one}." for one in (*WHOLE, *SHELLS)))]
        while wanted:
            module = wanted.pop()
            path = paths[module]
            if path in found:
                continue
            with open(os.path.join(root, path), "rb") as file:
                found[path] = file.read()
            wanted += _imports(module, path, found[path], paths)
    except OSError as error:
        raise MachineError(f"{error.filename or root} can't be read: {error.strerror}") from error
    for package in WHOLE:
        if f"{package}/__init__.py" not in found:
            raise BundleError(f"{root}: there is no package {package} in it")
    return dict(sorted(found.items()))


def _modules_in(root: str, package: str) -> Iterator[str]:
    """Paths of the modules of a package, below ``root``."""
    for folder, folders, names in os.walk(os.path.join(root, package)):
        folders[:] = [name for name in folders if name.isidentifier() and name != "__pycache__"]
        for name in names:
            stem, ending = os.path.splitext(name)
            if ending == ".py" and stem.isidentifier():
                yield os.path.relpath(os.path.join(folder, name), root)


def _module_of(path: str) -> str:
    """``a/b.py`` is ``a.b``, ``a/__init__.py`` is ``a``."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports(module: str, path: str, source: bytes, known: dict[str, str]) -> set[str]:
    """
    Modules of ours that a module imports, wherever it does, with the packages that they are in.

    Raises:
        BundleError: it can't be parsed, or imports one that is not there.
    """
    try:
        tree = ast.parse(source, path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the latter: nested too deeply
        raise BundleError(f"{path}: it can't be parsed: {error}") from None
    package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            named = [(base, alias.name) for alias in node.names]
        else:
            continue
        for base, name in named:
            if base.partition(".")[0] not in (*WHOLE, *IN_PART):
                continue
            if base not in known:
                raise BundleError(f"{path}: it imports {base}, which is not there")
            inner = f"{base}.{name}"
            found.add(inner if inner in known else base)
    return {".".join(one.split(".")[: depth + 1]) for one in found for depth in range(one.count(".") + 1)} & set(known)

"""A bundle of this program: the same everywhere, and its actors run from it and from nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

import fustor
from fustor.bundle import signature
from fustor.bundle.build import Built, build, root_of_program, with_signature
from fustor.bundle.bytecode import cached_path
from fustor.bundle.manifest import BundleLimits, unmet_here
from fustor.bundle.unpacking import check_unpacked, stage
from fustor.bundle.wheels import Wheels
from fustor.runtime.keys import load_or_create
from protocols.errors import BundleError, ConfigError
from tests.support.actors import actors_in
from tests.support.bundles import ANN, BOB, LATER, NOW, TRUSTED, bundle_in, small

ROOT = Path(__file__).resolve().parents[2]

#: The smallest configuration that each actor accepts.
SOURCE = {"name": "data", "root": "/"}
ENDPOINTS = {"data": "ipc://data", "acks": "ipc://acks"}
CONFIGS: dict[str, dict[str, Any]] = {
    "actors.query": {"views": {"main": "/x"}, "default_view": "main"},
    "actors.scanner": {"source": SOURCE, "slot": 0},
    "actors.syncer": {"agent": "a", "source": "data", **ENDPOINTS, "server_key": "", "key_file": "x.key"},
    "actors.view": {"view": "main", "store": "/x", "sources": [], **ENDPOINTS, "key_file": "x.key", "authorized": "x"},
    "actors.watcher": {"source": SOURCE, "state": "/"},
}

#: As where nothing is installed as editable: that would find in the checkout what is missing in a bundle.
PLAIN = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in str(f.__module__)]\n"

#: Runs a module as ``-m`` does, and says which of our modules were imported from where.
PROGRAM = f"""{PLAIN}
import json, runpy, sys
module = sys.argv[1]
sys.argv[1:] = ["--check"]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as end:
    code = end.code
ours = {{name: [m.__file__, m.__cached__] for name, m in sys.modules.items()
        if name.partition(".")[0] in ("actors", "fustor", "protocols")}}
print(json.dumps([code, ours]))
"""


@pytest.fixture(scope="module")
def built() -> Built:
    return build("fustor", Wheels())


@pytest.fixture(scope="module")
def folder(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, signed, verified and unpacked."""
    place = tmp_path_factory.mktemp("bundle")
    signed = signature.sign(built.digest, LATER, ANN.public, ANN.secret)
    (place / "x.bundle").write_bytes(with_signature(bundle_in(built.content), signed))
    return Path(stage(str(place / "x.bundle"), str(place / "versions"), TRUSTED, NOW).folder)


def run(folder: Path, *arguments: str, text: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Python with a staged bundle on its path; the environment has our packages, too, as installed."""
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(folder)},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_it_says(built: Built) -> None:
    assert (built.manifest.name, built.manifest.version) == ("fustor", fustor.__version__)
    assert built.manifest.platform == ""
    assert unmet_here(built.manifest) == []
    bundle = bundle_in(built.content)
    bundle.check()
    assert (bundle.digest, bundle.signatures) == (built.digest, ())
    modules = [path for path in built.manifest.files if path.endswith(".py")]
    assert set(built.manifest.files) == {*modules, *map(cached_path, modules)}


@pytest.mark.parametrize("module", sorted(CONFIGS))
def test_every_actor_runs_from_it_alone(folder: Path, tmp_path: Path, module: str) -> None:
    load_or_create(str(tmp_path / "x.key"), "x", "fusion")
    done = run(folder, "-c", PROGRAM, module, text=json.dumps(CONFIGS[module]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code, ours = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stdout[:500]
    assert {"fustor", module, "protocols.codec", "fustor.runtime.actor"} <= set(ours)
    for name, (source, cached) in ours.items():
        assert Path(source).is_relative_to(folder), name
        assert cached == str(folder / cached_path(os.path.relpath(source, folder))), name
        assert Path(cached).exists()
    refused = run(folder, "-m", module, "--check", text="{}", cwd=tmp_path)
    assert refused.returncode == 2, refused.stderr
    assert "it is required" in refused.stdout


async def test_an_actor_works_from_it(folder: Path, tmp_path: Path) -> None:
    async with actors_in(tmp_path) as actors:
        actors.path = folder
        actors.start("scanner.data.0", "actors.scanner", CONFIGS["actors.scanner"])
        await actors.running("scanner.data.0")
    check_unpacked(str(folder))


def test_all_of_it_can_be_imported_and_nothing_is_written_there(folder: Path, tmp_path: Path) -> None:
    program = f"""{PLAIN}
import pkgutil, actors, fustor, protocols
for package in (actors, fustor, protocols):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        __import__(module.name)
    print(*package.__path__)
"""
    done = run(folder, "-c", program, text="", cwd=tmp_path)
    assert done.stdout.splitlines() == [f"{folder}/{name}" for name in ("actors", "fustor", "protocols")], done.stderr
    check_unpacked(str(folder))


def test_what_is_not_in_it_is_not_found_elsewhere(folder: Path, tmp_path: Path) -> None:
    """Commands that are installed behind it on the path do not mix with it."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{PLAIN}\nimport fustor.runtime.actor, fustor.admin"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert "No module named 'fustor.admin'" in done.stderr


def built_elsewhere(root: Path, output: Path, umask: int, **environment: str) -> bytes:
    """By the command line, from a copy of the packages."""
    subprocess.run(
        [sys.executable, "-P", "-m", "fustor.admin", "bundle", "build", "--output", str(output)],
        cwd=output.parent,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        umask=umask,
        check=True,
    )
    return output.read_bytes()


def copied(to: Path, order: int) -> Path:
    """A copy of our packages, its files made in another order, with other times."""
    for package in ("actors", "fustor", "protocols"):
        for source in sorted((ROOT / package).rglob("*.py"))[::order]:
            target = to / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            os.utime(target, (NOW + order, NOW + order))
    return to


def test_the_same_program_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    one = copied(tmp_path / "one", 1)
    two = copied(tmp_path / "another" / "and deeper", -1)
    first = built_elsewhere(one, tmp_path / "a", 0o022, PYTHONHASHSEED="1", TZ="UTC")
    second = built_elsewhere(
        two, tmp_path / "b", 0o077, PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="C", PYTHONOPTIMIZE="1",
        PYTHONPYCACHEPREFIX=str(tmp_path / "cache"), PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    assert first == second
    assert first == built.content
    with open(two / "actors/view/store.py", "a") as file:
        file.write("# one more line\n")
    assert built_elsewhere(two, tmp_path / "b", 0o022) != first


def test_wheels_come_with_bytecode_where_it_can_be_made() -> None:
    wheels = Wheels(
        ("extra-1-py3-none-any.whl",),
        {"extra/__init__.py": b"x = 1\n", "extra/template.py": b"{{ name }} = (", "extra/data.txt": b"!"},
        is_native=True,
    )
    made = build("fustor", wheels)
    files = made.manifest.files
    assert {"extra/__init__.py", "extra/template.py", "extra/data.txt", cached_path("extra/__init__.py")} <= set(files)
    assert cached_path("extra/template.py") not in files
    assert made.manifest.wheels == wheels.names
    assert made.manifest.platform.startswith(made.manifest.python.cache_tag)


def test_what_nobody_would_take_is_not_made(built: Built) -> None:
    with pytest.raises(BundleError, match="bytes in all files, at most 1000"):
        build("fustor", Wheels(), BundleLimits(total_bytes=1000))
    with pytest.raises(ConfigError, match="files = 'extra/a:b'"):
        build("fustor", Wheels(files={"extra/a:b": b""}))
    with pytest.raises(ConfigError, match="name = 'a/b'"):
        build("a/b", Wheels())


def test_one_more_signature_changes_nothing_else() -> None:
    content = small(signers=())
    first = signature.sign(bundle_in(content).digest, LATER, ANN.public, ANN.secret)
    second = signature.sign(bundle_in(content).digest, LATER, BOB.public, BOB.secret)
    once = with_signature(bundle_in(content), first)
    assert once == small()
    both = with_signature(bundle_in(once), second)
    assert both == small(signers=(ANN, BOB))
    later = attrs.evolve(first, expires=LATER + 1)
    assert bundle_in(with_signature(bundle_in(both), later)).signatures == tuple(
        sorted((later, second), key=lambda one: one.key)
    )


def test_what_is_damaged_is_not_signed() -> None:
    content = small()
    place = content.index(b"x = 1")
    bundle = bundle_in(content[:place] + b"y" + content[place + 1 :])
    with pytest.raises(BundleError, match="damaged"):
        with_signature(bundle, bundle.signatures[0])


def test_our_packages_are_in_one_folder() -> None:
    assert root_of_program() == str(ROOT)

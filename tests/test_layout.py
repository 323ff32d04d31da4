"""Rules about the files: every module has its test, tests are no packages, layers hold, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Modules without a test file of their own, with the reason.
WITHOUT_TWIN = {
    "fustor/admin/__main__.py": "two lines; every test of a command runs it",
}

#: Folders of code; below each, tests mirror the tree.
CODE = ("fustor", "actors", "protocols", "bin")


def twin(module: Path) -> Path:
    """The test of a module: ``fustor/a/b.py`` → ``tests/a/test_b.py``, ``actors/b.py`` → ``tests/actors/test_b.py``."""
    parts = module.relative_to(ROOT).parts
    folders = parts[1:-1] if parts[0] == "fustor" else parts[:-1]
    return ROOT.joinpath("tests", *folders, f"test_{module.stem.strip('_')}.py")


def modules() -> list[Path]:
    return sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py")


def test_every_module_has_its_test() -> None:
    missing = {str(module.relative_to(ROOT)) for module in modules() if not twin(module).exists()}
    assert missing - set(WITHOUT_TWIN) == set()


def test_every_exception_is_still_one() -> None:
    assert [name for name in WITHOUT_TWIN if not (ROOT / name).exists() or twin(ROOT / name).exists()] == []


def test_tests_are_no_packages() -> None:
    """An ``__init__.py`` below tests/ would make ``tests/actors`` hide the real ``actors``."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_every_module_says_what_it_is() -> None:
    silent = [str(path) for path in modules() if not path.read_text().lstrip().startswith(('"""', 'r"""'))]
    assert silent == []


def test_layers_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    broken = []
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []

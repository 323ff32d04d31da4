"""
The virtual environment of a checkout: made when missing, renewed when ``pyproject.toml`` changed, left alone otherwise.

Standard library only: on a fresh machine nothing else is there. The folder is ``.venv`` in the checkout, or
``$FUSTOR_VENV``. A stamp inside it says what was installed, and is written last: an interrupted installation is done
again. Looking at an environment that is in order costs one small file read; nothing is imported or run.

It does not choose versions (pyproject.toml does), and does not touch anything outside of that folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

CHECKOUT = Path(__file__).resolve().parent.parent


class SetupError(Exception):
    """The environment can't be made; the message says why and what to do."""


class Environment:
    """
    One virtual environment for one checkout.

    Args:
        checkout: the folder of pyproject.toml.
        folder: where the environment is, or goes.
    """

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.checkout = checkout
        self.folder = folder
        self.python = folder / "bin" / "python"
        self._stamp = folder / "fustor-stamp.json"

    def run(self, module: str, arguments: Sequence[str]) -> NoReturn:
        """
        Become ``python -P -m module arguments`` in the environment.

        ``-P``: a folder called ``actors`` in the working directory must not be imported instead of ours.
        """
        self.ensure_or_exit()
        # Compiled once, not by every process at its start: 0.1 s of each.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.execv(self.python, [str(self.python), "-P", "-m", module, *arguments])

    def ensure_or_exit(self, extras: frozenset[str] = frozenset()) -> None:
        """As :meth:`ensure`, with the error on stderr and exit code 1."""
        try:
            self.ensure(extras)
        except SetupError as error:
            sys.exit(f"{Path(sys.argv[0]).name}: {error}")
        except KeyboardInterrupt:
            sys.exit("\nfustor: interrupted; the next command will go on with the installation")

    def ensure(self, extras: frozenset[str] = frozenset()) -> None:
        """
        Make or renew the environment if it has to be.

        Args:
            extras: optional dependencies of pyproject.toml that are wanted; those of before stay.

        Raises:
            SetupError: it could not be made.
        """
        if self._missing(extras) is None:
            return
        with self._locked():
            why = self._missing(extras)  # another process may have been faster
            if why is None:
                return
            extras |= self._installed()
            _say(f"{why}: installing into {self.folder} (half a minute to a few minutes, once)")
            began = time.monotonic()
            if not self._usable():
                self._create()
            target = str(self.checkout) + (f"[{','.join(sorted(extras))}]" if extras else "")
            self._pip("install", "--editable", target)
            self._write_stamp(extras)
            _say(f"installed in {time.monotonic() - began:.0f} s")

    def _missing(self, extras: frozenset[str]) -> str | None:
        """Why something has to be done; None when all is there."""
        if not self._usable():
            return "first start" if not self.folder.exists() else "the Python of the environment has changed"
        stamp = self._read_stamp()
        if stamp.get("pyproject") != self._fingerprint() or stamp.get("checkout") != str(self.checkout):
            return "pyproject.toml has changed" if stamp else "first start"
        if not extras <= self._installed():
            return f"the {', '.join(sorted(extras))} tools are missing"
        return None

    def _usable(self) -> bool:
        """Whether the interpreter is there, and is the one that the packages were installed for."""
        known = self._read_stamp().get("python")
        return self.python.exists() and known in (None, os.path.realpath(self.python))

    def _installed(self) -> frozenset[str]:
        return frozenset(self._read_stamp().get("extras", "").split())

    def _fingerprint(self) -> str:
        return hashlib.sha256((self.checkout / "pyproject.toml").read_bytes()).hexdigest()

    def _read_stamp(self) -> dict[str, str]:
        try:
            stamp = json.loads(self._stamp.read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) else {}

    def _write_stamp(self, extras: frozenset[str]) -> None:
        stamp = {
            "checkout": str(self.checkout),
            "extras": " ".join(sorted(extras)),
            "pyproject": self._fingerprint(),
            "python": os.path.realpath(self.python),
        }
        beside = self._stamp.with_suffix(".tmp")
        beside.write_text(json.dumps(stamp, indent=1) + "\n")
        beside.replace(self._stamp)

    def _create(self) -> None:
        command = [sys.executable, "-m", "venv", "--clear", str(self.folder)]
        made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if made.returncode != 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise SetupError(
                f"python -m venv {self.folder} failed:\n{_tail(made.stdout)}\n"
                "On Debian and Ubuntu: apt install python3-venv. A checkout that can't be written to: "
                "set FUSTOR_VENV to a folder that can."
            )

    def _pip(self, *arguments: str) -> None:
        log = self.folder / "pip.log"
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
        with (
            log.open("w") as kept,
            subprocess.Popen(
                [*command, "--progress-bar", "off"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as pip,
        ):
            assert pip.stdout is not None
            for line in pip.stdout:
                kept.write(line)
                _show(line)
        _show("")
        if pip.returncode != 0:
            raise SetupError(
                f"pip failed:\n{_tail(log.read_text())}\n"
                f"All of its output: {log}. No network? Set PIP_INDEX_URL to an index that can be reached, "
                "or PIP_NO_INDEX=1 and PIP_FIND_LINKS to a folder of wheels, and run this command again."
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One installer at a time; the lock is on the checkout's folder itself, so no file is left behind."""
        descriptor = os.open(self.checkout, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _say("waiting for another command that is installing")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def environment() -> Environment:
    """The environment of the checkout that this file is part of."""
    return Environment(CHECKOUT, Path(os.environ.get("FUSTOR_VENV") or CHECKOUT / ".venv").absolute())


def _say(text: str) -> None:
    print(f"fustor: {text}", file=sys.stderr, flush=True)


def _show(line: str) -> None:
    """One line of progress, overwritten by the next; nothing when nobody is watching."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 3
        print(f"\r\x1b[K  {line.strip()[:width]}", end="" if line else "\r", file=sys.stderr, flush=True)


def _tail(text: str, lines: int = 12) -> str:
    return "\n".join("    " + line for line in text.rstrip().splitlines()[-lines:])

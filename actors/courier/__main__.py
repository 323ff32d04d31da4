"""Start a courier: ``python -P -m actors.courier``, by a guardian."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import attrs
import trio

from actors.courier.fetching import fetch
from fustor.bundle.keys import load_public
from fustor.bundle.manifest import BundleLimits
from fustor.bundle.unpacking import stage
from fustor.runtime.actor import Host, run_actor
from fustor.runtime.config import matching, structure
from fustor.runtime.daemon import check_payload
from fustor.runtime.durable import sync_folder
from fustor.runtime.keys import load_secret
from fustor.runtime.sockets import ClientCurve
from protocols.errors import BundleError, ConfigError, MachineError

#: What it says in its facts: the digest that is ready, or why it can't be had.
STAGED, REFUSED = "staged", "refused"
#: Processes that try what will run.
CHECKS_AT_A_TIME = 2
#: Seconds between two tries, and that Fusion may be silent.
_PAUSE_SECONDS, _SILENCE_SECONDS = 2.0, 10.0


@attrs.frozen
class Check:
    """What will run: a module, and what it will be told."""

    module: str
    config: dict[str, Any]


@attrs.frozen(kw_only=True)
class CourierConfig:
    """
    Attributes:
        digest: of the bundle that is wanted.
        versions: folder below which it is unpacked.
        release_keys: folder of the public halves of those who are trusted.
        file: where it is; empty: it is fetched.
        endpoint, server_key: of a query worker of Fusion, to fetch it from.
        key_file: key pair of this side, for that.
        checks: what of it will run.
        limits: of a bundle.
    """

    digest: str = attrs.field(validator=matching("[0-9a-f]{64}", "the digest of a bundle"))
    versions: str
    release_keys: str
    file: str = ""
    endpoint: str = ""
    server_key: str = ""
    key_file: str = ""
    checks: tuple[Check, ...] = ()
    limits: BundleLimits = attrs.field(factory=BundleLimits)

    def __attrs_post_init__(self) -> None:
        if not (self.file or self.endpoint):
            raise ConfigError("file", self.file, "the bundle's file, or the endpoint to fetch it from, is accepted")


def trusted_keys(folder: str) -> dict[str, str]:
    """
    Names by public key.

    Raises:
        BundleError: there is none, or one can't be read.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".pub"))
        keys = [load_public(os.path.join(folder, name)) for name in names]
    except FileNotFoundError:
        keys = []
    except (OSError, ConfigError) as error:
        raise BundleError(f"the release keys of this host can't be read: {error}") from None
    if not keys:
        raise BundleError(f"this host trusts no release key: it takes bundles once there is one in {folder}")
    return {key.public: key.name for key in keys}


def prepare(config: CourierConfig, path: str) -> None:
    """
    Verify, unpack, try; only then, by one rename, is it where versions are run from. Blocks.

    Raises:
        BundleError: it is not taken.
        MachineError: this host can't, for now.
    """
    staged = stage(path, _incoming(config), trusted_keys(config.release_keys), time.time(), config.limits)
    if staged.digest != config.digest:
        raise BundleError(f"it is another bundle, {staged.digest[:16]}…")

    def tried(check: Check) -> list[str]:
        return check_payload(check.module, check.config, program=staged.folder)

    # Most of each is the import of its modules.
    with ThreadPoolExecutor(max_workers=CHECKS_AT_A_TIME) as pool:
        faults = [fault for found in pool.map(tried, config.checks) for fault in found]
    if faults:
        raise BundleError("it was tried, and does not run here: " + "; ".join(faults[:20]))
    try:
        os.rename(staged.folder, os.path.join(config.versions, config.digest))
        sync_folder(config.versions)
    except OSError as error:
        raise MachineError(f"{config.versions} can't be written: {error.strerror}") from error


def _incoming(config: CourierConfig) -> str:
    """Where it is unpacked, and tried."""
    return os.path.join(config.versions, f"{config.digest}.incoming")


async def bring(host: Host, config: CourierConfig) -> None:
    """Until it is ready, or known to be none that is taken; then wait to be ended."""
    part = os.path.join(config.versions, f"{config.digest}.part")
    target = os.path.join(config.versions, config.digest)
    host.ready(wants=config.digest)
    host.counters.setdefault("bytes", 0)
    while True:
        try:
            os.makedirs(config.versions, 0o700, exist_ok=True)
            if not os.path.isdir(target):  # noqa: ASYNC240 - one stat(2)
                if not config.file:
                    await _fetch(host, config, part)
                await trio.to_thread.run_sync(prepare, config, config.file or part)
            # Also what one of before us has left, who died right after it was ready.
            await trio.to_thread.run_sync(partial(shutil.rmtree, _incoming(config), ignore_errors=True))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
        except BundleError as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)  # whatever was wrong with it, the next try begins anew
            host.log.error("the bundle is not taken", extra={"error": str(error)})
            host.facts[REFUSED] = str(error)[:4000]
            break
        except (MachineError, OSError) as error:
            host.log.warning("the bundle can't be had yet", extra={"error": str(error)})
            host.facts["trouble"] = str(error)[:1000]
            host.nudge()
            await trio.sleep(_PAUSE_SECONDS)
        else:
            host.facts.pop("trouble", None)
            host.facts[STAGED] = config.digest
            break
    host.nudge()
    await host.stop_requested.wait()


async def _fetch(host: Host, config: CourierConfig, part: str) -> None:
    """
    Raises:
        BundleError, MachineError: as :func:`actors.courier.fetching.fetch`.
    """
    pair = load_secret(config.key_file)

    def progress(at: int, size: int) -> None:
        host.counters["bytes"] = max(host.counters["bytes"], at)
        host.gauges.update(bytes=at, size=size)

    await fetch(
        config.endpoint,
        ClientCurve(config.server_key, pair.public, pair.secret),
        config.digest,
        part,
        most=config.limits.total_bytes * 2,
        silence_seconds=_SILENCE_SECONDS,
        progress=progress,
    )


def build(config: dict[str, Any]) -> Callable[[Host], Awaitable[None]]:
    """
    The courier for one configuration.

    Raises:
        ConfigFaults: it can't be accepted.
    """
    told = structure(CourierConfig, config)

    async def run(host: Host) -> None:
        async with trio.open_nursery() as nursery:

            async def until_stopped() -> None:
                await host.stop_requested.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_stopped)
            await bring(host, told)

    return run


if __name__ == "__main__":
    run_actor("courier", build)

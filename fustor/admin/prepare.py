"""
Make a state folder ready for ``fustor up``: folders, keys that know each other, and two configuration files.

What exists is kept: keys are never replaced, one that was revoked stays so, and a configuration file is the operator's
once it is written. With two exceptions: ``--http`` is written into the file, and a port that ``up`` chose itself
(marked so) is chosen anew when somebody else has it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from fustor.admin.keys import keys_in
from fustor.admin.ports import choose, holder, is_free, split
from fustor.admin.state import DEFAULTS, Side, State
from fustor.runtime.durable import write_durably
from fustor.runtime.keys import load_or_create, write_public
from protocols.errors import ConfigError, MachineError, RequestError

#: Names that ``up`` gives to its one agent, source and view.
AGENT, SOURCE, VIEW, OPERATOR = "local", "data", "main", "admin"
#: Marks a port that ``up`` may choose anew; removing the comment keeps the port.
AUTOMATIC = "chosen by fustor up"

#: Ports taken from the first on: key → how many (data: PULL and PUB of a view; query: one per worker).
_PORTS = {"control": 1, "admin": 1, "http": 1, "data": 2, "query": 2}

_FUSION = """\
# Configuration of Fusion, written by `fustor up` once; yours from now on. All keys: docs/configuration.md.
# A port with the comment "{automatic}" may be chosen anew when another program has it; remove the comment to keep it.
[fusion]
state = "fusion"  # relative to this file
{ports}
query_workers = 2  # processes that answer; one more port each, from `query` on
heartbeat_seconds = 1.0
lease_seconds = 3.0  # a source not heard of for this long is called stale

[[views]]
name = "{view}"

[[views.sources]]
agent = "{agent}"
source = "{source}"
mount = "/"
"""

_AGENT = """\
# Configuration of the agent here, written by `fustor up` once; yours from now on. All keys: docs/configuration.md.
[agent]
id = "{agent}"
state = "agent"  # relative to this file
fusion = "{control}"
fusion_key_file = "fusion/keys/fusion.pub"

[[sources]]
name = "{source}"
root = {root}
include = []  # gitignore patterns; empty: everything
exclude = [{exclude}]  # gitignore patterns
one_filesystem = true  # do not enter other file systems mounted below
scanners = 2  # processes that read directories
fast_audit_seconds = 600  # directories whose times changed are looked at again
full_audit_seconds = 86400  # everything is looked at again within this time
"""


def check_root(directory: str) -> str:
    """
    The absolute path of the directory to index.

    Raises:
        RequestError: it is missing, no directory, can't be read, or has a name that TOML can't hold.
    """
    root = os.path.realpath(directory)
    try:
        with os.scandir(root) as entries:
            next(entries, None)
    except FileNotFoundError:
        raise RequestError("DIR", directory, "no such directory; name one that exists") from None
    except NotADirectoryError:
        raise RequestError("DIR", directory, "is no directory; name the directory that contains it") from None
    except PermissionError:
        raise RequestError("DIR", directory, "this user may not read it; run as one who may") from None
    except OSError as error:
        raise RequestError("DIR", directory, f"can't be read: {error.strerror}") from None
    try:
        root.encode("utf-8")
    except UnicodeEncodeError:
        raise RequestError("DIR", directory, "its own path has to be UTF-8 (paths below need not be)") from None
    return root


def prepare(state: State, root: str, http: str = "") -> None:
    """
    Make everything that :func:`fustor.admin.up.up` starts from. Nothing may run in the state folder.

    Args:
        state: where.
        root: the directory to index, as :func:`check_root` gave it.
        http: ``HOST:PORT`` asked for explicitly; empty for the default or what the file says.

    Raises:
        RequestError: the folder belongs to another directory, or the port asked for is taken.
        ConfigError: a configuration file is not as accepted.
        MachineError: the folder can't be written, or no ports are free.
    """
    if http:
        host, port = split(http, "--http")
        if not is_free(host, port):
            raise RequestError("--http", http, f"the port is taken by {holder(port)}; stop it, or name another port")
    make_folder(state)
    try:
        _folders(state)
        _keys(state)
        if state.exists():
            _same_root(state, root)
        else:
            _write_configs(state, root, http)
        _settle_ports(state, http)
    except OSError as error:
        raise _unwritable(state, error) from None


def make_folder(state: State) -> None:
    """The state folder itself, mode 0700. Raises MachineError when it can't be made."""
    try:
        state.folder.parent.mkdir(parents=True, exist_ok=True)
        state.folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(state, error) from None


def _unwritable(state: State, error: OSError) -> MachineError:
    return MachineError(
        f"the state folder {state.folder} can't be prepared: {error.strerror} ({error.filename}). "
        "Make it writable, or name another: --state FOLDER"
    )


def _folders(state: State) -> None:
    for side in state.sides:
        for folder in (side.folder, side.run, side.log, side.keys, side.keys / "authorized"):
            folder.mkdir(mode=0o700, exist_ok=True)


def _keys(state: State) -> None:
    fusion, agent = state.sides
    write_public(str(fusion.keys / "fusion.pub"), load_or_create(str(fusion.keys / "fusion.key"), "fusion", "fusion"))
    shut_out = {pair.public for pair in keys_in(fusion.keys / "revoked").values()}
    for pair in (
        load_or_create(str(agent.keys / "agent.key"), AGENT, "agent"),
        load_or_create(str(fusion.keys / "admin.key"), OPERATOR, "deployer"),
    ):
        if pair.public not in shut_out:
            write_public(str(fusion.keys / "authorized" / f"{pair.name}.pub"), pair)


def _same_root(state: State, root: str) -> None:
    before = state.root()
    if before and os.path.realpath(before) != root:
        raise RequestError(
            "DIR",
            root,
            f"the state folder {state.folder} belongs to {before}; give this directory a state folder of its own: "
            f"--state FOLDER, or change `root` in {state.agent.config}",
        )


def _write_configs(state: State, root: str, http: str) -> None:
    endpoints: dict[str, str] = dict(DEFAULTS)
    if http:
        endpoints["http"] = http
    ports = "\n".join(_port_line(key, endpoints[key], automatic=not (http and key == "http")) for key in _PORTS)
    names = {"agent": AGENT, "source": SOURCE, "view": VIEW}
    # An index of its own store would change with every change it writes down: without end.
    exclude = ", ".join(toml_text(pattern) for pattern in _own_folder(state, root))
    agent = _AGENT.format(root=toml_text(root), control=endpoints["control"], exclude=exclude, **names)
    write_durably(str(state.agent.config), agent.encode())
    write_durably(str(state.fusion.config), (_FUSION.format(ports=ports, automatic=AUTOMATIC, **names)).encode())


def _own_folder(state: State, root: str) -> list[str]:
    """A gitignore pattern for the state folder, when it is below the root."""
    relative = os.path.relpath(state.folder, root)
    if relative == ".":
        return ["/agent/", "/fusion/"]
    if relative.startswith(".."):
        return []
    return ["/" + re.sub(r"([\\*?\[\] !#])", r"\\\1", relative) + "/"]


def _port_line(key: str, endpoint: str, *, automatic: bool) -> str:
    return f'{key} = "{endpoint}"' + (f"  # {AUTOMATIC}" if automatic else "")


def port_counts(state: State) -> dict[str, int]:
    """Key of ``[fusion]`` → how many ports Fusion takes from the one on that it names."""
    workers = state.fusion_config().get("query_workers", 2)
    return _PORTS | {"data": 2 * len(state.views()), "query": workers if isinstance(workers, int) else 2}


def _settle_ports(state: State, http: str) -> None:
    """Check that every port of fusion.toml is free; choose anew those that are ours to choose."""
    config, counts = state.fusion_config(), port_counts(state)
    text = state.fusion.config.read_text("utf-8")
    changed: dict[str, str] = {}
    taken: set[int] = set()
    if http and http != config["http"]:
        changed["http"] = _port_line("http", http, automatic=False)
        config["http"] = http
    for key, count in counts.items():
        host, port = split(str(config[key]), f"fusion.{key}")
        wanted = range(port, port + count)
        busy = [number for number in wanted if number in taken or not is_free(host, number)]
        if busy:
            if not re.search(rf"(?m)^{key}\s*=.*#\s*{AUTOMATIC}\s*$", text):
                raise ConfigError(
                    f"fusion.{key}",
                    config[key],
                    f"port {busy[0]} is taken by {holder(busy[0])}; stop it, or write another port here",
                    str(state.fusion.config),
                )
            port = choose(host, port, count, frozenset(taken))
            scheme = "tcp://" if str(config[key]).startswith("tcp://") else ""
            shown = f"[{host}]" if ":" in host else host
            changed[key] = _port_line(key, f"{scheme}{shown}:{port}", automatic=True)
            if key == "control":
                _point_agent(state.agent, str(config[key]), f"{scheme}{shown}:{port}")
        taken.update(range(port, port + count))
    if changed:
        write_durably(str(state.fusion.config), (_replace_lines(text, changed, state.fusion.config)).encode())


def _replace_lines(text: str, lines: Mapping[str, str], file: Path) -> str:
    for key, line in lines.items():
        text, count = re.subn(rf"(?m)^{key}\s*=.*$", lambda _, line=line: line, text, count=1)  # type: ignore[misc]
        if count == 0:
            raise ConfigError(f"fusion.{key}", "", f"no such line below [fusion]; write it there: {line}", str(file))
    return text


def _point_agent(agent: Side, before: str, endpoint: str) -> None:
    """Let the agent's configuration follow Fusion's control port, if it pointed there."""
    text = agent.config.read_text("utf-8")
    write_durably(str(agent.config), (text.replace(f'fusion = "{before}"', f'fusion = "{endpoint}"', 1)).encode())


def toml_text(text: str) -> str:
    """``text`` as a TOML basic string (which is a JSON string, except that DEL must be escaped too)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

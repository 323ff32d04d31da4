"""
CONFIG.json of the guardian, read and checked. Does not open, bind or create anything that it names.

=================== ======================================================================================= ========
key                 meaning                                                                                 default
=================== ======================================================================================= ========
run                 working directory of all processes; exists, mode 0700                                   required
control             argv of the control actor; argv[0] is an absolute path                                  required
log                 folder of the logs                                                                      required
env                 added to the environment of every child                                                 {}
template            modules that a template imports, to be forked into ``python -P -m MODULE``; none: exec  []
listen              name → [host, port]: listening TCP sockets, given to payloads by name; port 0: any      {}
control_fds         names in listen that the control actor is given                                         []
beat_timeout        seconds without a beat after which a frozen control actor is replaced; 0: never         1.5
hang_timeout        the same of one that is not frozen: it may only be waiting for a processor              4
start_timeout       the same before its first beat                                                          15
grace               seconds that the control actor has to drain the payloads when the guardian is stopped   10
restart_delay       seconds before the second restart of a control actor that dies young, then doubling …   0.2
restart_delay_max   … up to this                                                                            5
young               a control actor that lived for fewer seconds died young                                 5
log_bytes           a log above this many bytes is renamed to .1                                            8 MiB
slots               how many payloads may be in the table                                                   1024
successor           who starts the next guardian when this one is killed: "survivors" or "supervisor"       survivors
entry               path of the guardian's program that is installed, by which each is started              itself
shell               path of the file that says which program guardian and control actor run instead         none
trial_timeout       seconds that the control actor has to say that another program works                    60
trial_start_timeout start_timeout of a control actor on trial                                               5
rejoin_timeout      seconds that survivors look for a successor before they exit                            10
adopt_timeout       seconds that a successor waits for survivors to join before it kills them               5
=================== ======================================================================================= ========
"""

from __future__ import annotations

import json
import os

from fustor.guardian.errors import RefusedError, StartError, short

_SECONDS = {
    "beat_timeout": 1.5,
    "hang_timeout": 4.0,
    "start_timeout": 15.0,
    "grace": 10.0,
    "restart_delay": 0.2,
    "restart_delay_max": 5.0,
    "young": 5.0,
    "rejoin_timeout": 10.0,
    "adopt_timeout": 5.0,
    "trial_timeout": 60.0,
    "trial_start_timeout": 5.0,
}
_COUNTS = {"log_bytes": 8 << 20, "slots": 1024}
_KEYS = {
    *("run", "control", "log", "env", "template", "listen", "control_fds", "successor", "entry", "shell"),
    *_SECONDS,
    *_COUNTS,
}

_STARTERS = ("survivors", "supervisor")

#: Set by the guardian for every child, hence refused in ``env``.
RESERVED = ("FUSTOR_NAME", "FUSTOR_TOKEN", "FUSTOR_GUARDIAN_PID", "FUSTOR_FDS", "FUSTOR_REJOIN")


class Config:
    """
    Checked settings; one attribute per key of CONFIG.json. Paths are absolute, or empty where there is a default;
    ``by_survivors`` says what ``successor`` does.
    """

    def __init__(self, data: object) -> None:
        """
        Raises:
            RefusedError: a key is missing, unknown or has a value that is not accepted.
        """
        if not isinstance(data, dict):
            raise RefusedError("configuration", short(data), "a JSON object is accepted")
        for key in data:
            if key not in _KEYS:
                raise RefusedError(str(key), short(data[key]), "unknown key; accepted are " + ", ".join(sorted(_KEYS)))
        for key in ("run", "control", "log"):
            if key not in data:
                raise RefusedError(key, None, "is required")
        self.run = _path("run", data["run"])
        self.log = _path("log", data["log"])
        self.control = argv("control", data["control"])
        self.env = environment("env", data.get("env", {}))
        self.template = _modules("template", data.get("template", []))
        listen = _mapping("listen", data.get("listen", {}))
        self.listen = {name: _address(f"listen.{name}", address) for name, address in listen.items()}
        self.control_fds = _chosen("control_fds", data.get("control_fds", []), self.listen)
        seconds = {key: _seconds(key, data.get(key, default)) for key, default in _SECONDS.items()}
        counts = {key: _count(key, data.get(key, default)) for key, default in _COUNTS.items()}
        self.beat_timeout = seconds["beat_timeout"]
        self.hang_timeout = seconds["hang_timeout"]
        self.start_timeout = seconds["start_timeout"]
        self.grace = seconds["grace"]
        self.restart_delay = seconds["restart_delay"]
        self.restart_delay_max = seconds["restart_delay_max"]
        self.young = seconds["young"]
        self.rejoin_timeout = seconds["rejoin_timeout"]
        self.adopt_timeout = seconds["adopt_timeout"]
        self.trial_timeout = seconds["trial_timeout"]
        self.trial_start_timeout = seconds["trial_start_timeout"]
        self.entry = _path("entry", data["entry"]) if "entry" in data else ""
        self.shell = _path("shell", data["shell"]) if "shell" in data else ""
        self.by_survivors = _one_of("successor", data.get("successor", "survivors"), _STARTERS) == "survivors"
        self.log_bytes = counts["log_bytes"]
        self.slots = counts["slots"]


def load(path: str) -> Config:
    """
    Read CONFIG.json.

    Raises:
        StartError: it can't be read, is no JSON, or a key is wrong (exit code 2).
    """
    try:
        with open(path, "rb") as file:
            return Config(json.loads(file.read(1 << 20)))
    except OSError as error:
        raise StartError(f"{path}: can't be read: {error.strerror}", 2) from None
    except (ValueError, RecursionError) as error:
        raise StartError(f"{path}: is no JSON of at most 1 MiB: {error}", 2) from None
    except RefusedError as error:
        raise StartError(f"{path}: {error}", 2) from None


def argv(field: str, value: object) -> list[bytes]:
    """
    A command line, encoded for exec. No search in PATH: what is run must not depend on an environment.

    Raises:
        RefusedError: it is not a non-empty list of strings that begins with an absolute path.
    """
    accepted = "a list of strings that begins with an absolute path is accepted"
    if not isinstance(value, (list, tuple)) or not value:
        raise RefusedError(field, short(value), accepted)
    words = [text(f"{field}[{index}]", word) for index, word in enumerate(value)]
    if not words[0].startswith(b"/"):
        raise RefusedError(f"{field}[0]", short(value[0]), accepted)
    return words


def environment(field: str, value: object) -> dict[bytes, bytes]:
    """
    Environment variables, encoded for exec.

    Raises:
        RefusedError: not a mapping of names to strings, or a name that the guardian sets itself.
    """
    result = {}
    for name, setting in _mapping(field, value).items():
        if not name or "=" in name or name in RESERVED:
            accepted = f"names without '=' are accepted, except {', '.join(RESERVED)}"
            raise RefusedError(f"{field}.{name}", short(setting), accepted)
        result[text(f"{field}.{name}", name)] = text(f"{field}.{name}", setting)
    return result


def text(field: str, value: object) -> bytes:
    """
    A string that the kernel takes: without NUL, and encodable.

    Raises:
        RefusedError: it is not.
    """
    if isinstance(value, str) and "\0" not in value:
        try:
            return os.fsencode(value)
        except UnicodeEncodeError:
            pass  # a lone surrogate that stands for no byte: refused below
    raise RefusedError(field, short(value), "a string without NUL and lone surrogates is accepted")


def _mapping(field: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise RefusedError(field, short(value), "an object is accepted")
    return value


def _path(field: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise RefusedError(field, short(value), "a path is accepted")
    return os.path.abspath(value)


def _address(field: str, value: object) -> tuple[str, int]:
    if isinstance(value, list) and len(value) == 2:
        host, port = value
        named = isinstance(host, str) and host.isascii() and host.isprintable() and host != ""
        if named and type(port) is int and 0 <= port < 65536:
            return host, port
    accepted = "[host, port] with an address or ASCII name and a port of 0..65535 is accepted"
    raise RefusedError(field, short(value), accepted)


def _chosen(field: str, value: object, accepted: dict[str, tuple[str, int]]) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(name, str) and name in accepted for name in value):
        return tuple(value)
    raise RefusedError(field, short(value), f"a list of names in listen is accepted: {', '.join(accepted) or 'none'}")


def _modules(field: str, value: object) -> list[bytes]:
    names = value if isinstance(value, list) else [""]
    if all(isinstance(name, str) and name.replace(".", "_").isidentifier() for name in names):
        return [name.encode() for name in names]
    raise RefusedError(field, short(value), "a list of names of modules is accepted")


def _seconds(field: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 86400:
        return float(value)
    raise RefusedError(field, short(value), "seconds from 0 to 86400 are accepted")


def _count(field: str, value: object) -> int:
    if type(value) is int and 1 <= value <= 1 << 40:
        return value
    raise RefusedError(field, short(value), "a whole number from 1 on is accepted")


def _one_of(field: str, value: object, accepted: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in accepted:
        return value
    raise RefusedError(field, short(value), f"one of {', '.join(accepted)} is accepted")

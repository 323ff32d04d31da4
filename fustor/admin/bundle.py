"""
``fustor bundle``: this program, data plane and shells, as one signed file. Making one needs no Fusion and belongs where
releases are made.

What this module does not do: let agents run one (``fustor upgrade start`` does).
"""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from fustor.admin.client import Client
from fustor.admin.console import print_json, stderr, stdout
from fustor.admin.options import JsonOption, StateOption, chosen_state
from fustor.admin.text import duration, moment, printable, size
from fustor.bundle import keys, signature
from fustor.bundle.build import build as build_bundle
from fustor.bundle.build import with_signature
from fustor.bundle.manifest import span, unmet_here
from fustor.bundle.reading import Bundle, opened
from fustor.bundle.signature import Signature
from fustor.bundle.wheels import Wheels
from fustor.bundle.wheels import load as load_wheels
from fustor.runtime.durable import write_durably
from protocols.errors import ConfigError, RequestError

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A bundle.", exists=True, dir_okay=False, readable=True)
]
DaysOption = Annotated[
    float, typer.Option("--days", metavar="N", min=0.001, max=36_500, help="Until the signature expires.")
]
_DAY = 86_400
#: Bytes of one piece on the way to Fusion, and seconds that it may take with one: the last is checked.
PIECE_BYTES, PUSH_SECONDS = 256 << 10, 60.0


def build(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the bundle is written.")],
    wheels: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="All wheels in it are packed as well.", exists=True, file_okay=False),
    ] = None,
    name: Annotated[str, typer.Option(help="Of the bundle, for people.")] = "fustor",
    sign_with: Annotated[
        Path | None, typer.Option("--sign", metavar="KEY", help="Sign it at once, with this release key.")
    ] = None,
    days: DaysOption = 365,
    as_json: JsonOption = False,
) -> None:
    """Pack the data plane and shells of this program. The same program gives the same bytes, wherever it is."""
    key = keys.load_secret(str(sign_with)) if sign_with else None
    try:
        built = build_bundle(name, load_wheels(str(wheels)) if wheels else Wheels())
    except ConfigError as error:
        raise RequestError(f"--{error.field}", error.value, error.accepted) from None
    write_durably(str(output), built.content, 0o644)
    signed = _sign(output, key, days) if key else ()
    if as_json:
        with opened(str(output)) as bundle:
            print_json(_facts(bundle))
        return
    count, total = len(built.manifest.files), size(built.manifest.total_bytes)
    stdout().print(f"{output}: {count} files, {total}, digest {built.digest}", markup=False)
    if not signed:
        stderr().print(f"it is not signed: fustor bundle sign {output} --key KEY", markup=False)


def keygen(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="NAME.key", help="The secret; NAME.pub is written beside it.")
    ],
    name: Annotated[str, typer.Option(help="Of the owner.  [default: NAME]")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a release key. Keep the secret off every host that runs Fustor; hosts get NAME.pub."""
    if output.suffix != ".key":
        raise RequestError("--output", str(output), "a file name that ends in .key is accepted")
    try:
        key = keys.generate(name or output.stem)
    except ConfigError as error:
        raise RequestError("--name", name, error.accepted) from None
    except ValueError as error:
        raise RequestError("--name", name or output.stem, str(error)) from None
    public = output.with_suffix(".pub")
    for path in (output, public):
        if path.exists():
            raise RequestError("--output", str(output), f"a name without a file is accepted: {path} exists and is kept")
    if not keys.create(key, str(output), str(public)):
        raise RequestError("--output", str(output), "somebody else has made it just now")
    if as_json:
        print_json({"name": key.name, "public": key.public, "key": str(output), "pub": str(public)})
    else:
        stdout().print(f"{output}: the secret of release key {key.name}. Hosts get {public}", markup=False)


def sign(
    file: FileArgument,
    key: Annotated[Path, typer.Option("--key", "-k", metavar="KEY", help="A release key, with its secret.")],
    days: DaysOption = 365,
    as_json: JsonOption = False,
) -> None:
    """Add a signature to a bundle, or renew it. Its digest stays the same."""
    pair = keys.load_secret(str(key))
    (signed,) = _sign(file, pair, days)
    with opened(str(file)) as bundle:
        if as_json:
            print_json(_facts(bundle))
        else:
            said = f"{file}: signed by {pair.name} until {moment(signed.expires)}, digest {bundle.digest}"
            stdout().print(said, markup=False)


def verify(
    file: FileArgument,
    key: Annotated[
        list[Path],
        typer.Option("--key", "-k", metavar="KEY.pub", help="Public half of a trusted release key; repeatable."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Check every byte of a bundle, and that a trusted key has signed it. Exit code 1: it can't be taken."""
    trusted = {pair.public: pair.name for pair in (keys.load_public(str(path)) for path in key)}
    believed: list[Signature] = []

    def judge(digest: str, signatures: tuple[Signature, ...]) -> None:
        believed.extend(signature.signers(digest, signatures, trusted, time.time()))

    with opened(str(file), judge=judge) as bundle:
        bundle.check()
        if as_json:
            names = [{"name": trusted[one.key], "key": one.key, "expires": one.expires} for one in believed]
            print_json({**_facts(bundle), "signers": names})
            return
        for one in believed:
            said = f"{file}: whole, signed by {trusted[one.key]} until {moment(one.expires)}, digest {bundle.digest}"
            stdout().print(said, markup=False)


def inspect(
    file: FileArgument,
    files: Annotated[bool, typer.Option("--files", help="Every file, with its size and digest.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a bundle says of itself; it must be whole, and nobody is asked whether it is trusted."""
    with opened(str(file)) as bundle:
        bundle.check()
        if as_json:
            listed = {path: [one.size, one.sha256] for path, one in bundle.manifest.files.items()}
            print_json({**_facts(bundle), **({"paths": listed} if files else {})})
            return
        stdout().print(_table(bundle))
        if files:
            listing = Table("bytes", "sha256", "path", box=None, pad_edge=False, header_style="dim")
            for path, one in bundle.manifest.files.items():
                listing.add_row(Text(str(one.size)), Text(one.sha256), Text(path))
            stdout().print(listing)


def push(file: FileArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Give a bundle to Fusion, for agents to fetch; fustor upgrade lets them run it."""
    with opened(str(file)) as bundle:
        bundle.check()
        digest, total = bundle.digest, file.stat().st_size
    with Client(chosen_state(state), timeout=PUSH_SECONDS) as client, file.open("rb") as content:
        at = 0
        while True:
            content.seek(at)
            data = base64.b64encode(content.read(PIECE_BYTES)).decode()
            wanted = client.admin("bundle-put", digest=digest, offset=str(at), total=str(total), data=data)["next"]
            if wanted == total:
                break
            at = wanted
    if as_json:
        print_json({"digest": digest, "bytes": total})
    else:
        stdout().print(
            f"Fusion has bundle {digest}. Let agents run it: fustor upgrade start {digest[:16]}", markup=False
        )


def listed(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the bundles that Fusion has."""
    with Client(chosen_state(state)) as client:
        found = client.admin("bundles")
    if as_json:
        print_json(found)
        return
    table = Table("digest", "name", "version", "size", "", box=None, pad_edge=False, header_style="dim")
    for one in found:
        row = (one["digest"], one["name"], one["version"], size(one["bytes"]), one["error"])
        table.add_row(*[Text(printable(text)) for text in row])
    stdout().print(table)


def remove(
    digest: Annotated[str, typer.Argument(metavar="DIGEST")], state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Let Fusion give a bundle up. Agents that run it go on; one that comes later can't fetch it any more."""
    with Client(chosen_state(state)) as client:
        client.admin("bundle-remove", digest=digest)
    if as_json:
        print_json({"digest": digest})


# -- parts ----------------------------------------------------------------------------------------------------------


def _sign(file: Path, key: keys.ReleaseKey, days: float) -> tuple[Signature]:
    """Write the bundle anew, with one more signature."""
    with opened(str(file)) as bundle:
        signed = signature.sign(bundle.digest, int(time.time() + days * _DAY), key.public, key.secret)
        content = with_signature(bundle, signed)
    write_durably(str(file), content, 0o644)
    return (signed,)


def _facts(bundle: Bundle) -> dict[str, Any]:
    """What ``--json`` says of a bundle."""
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "digest": bundle.digest,
        "python": f"{manifest.python.implementation} {manifest.python.version}",
        "platform": manifest.platform,
        "needs": {"protocol": manifest.needs.protocol, "shell": manifest.needs.shell},
        "wheels": manifest.wheels,
        "files": len(manifest.files),
        "bytes": manifest.total_bytes,
        "signatures": [
            {"key": one.key, "expires": one.expires, "genuine": signature.is_genuine(bundle.digest, one)}
            for one in bundle.signatures
        ],
        "unmet": unmet_here(manifest),
    }


def _table(bundle: Bundle) -> Table:
    """One fact a row."""
    manifest = bundle.manifest
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [
        ("bundle", f"{manifest.name} {manifest.version}"),
        ("digest", bundle.digest),
        ("files", f"{len(manifest.files)}, {size(manifest.total_bytes)}"),
        ("python", f"{manifest.python.implementation} {manifest.python.version}"),
        ("platform", manifest.platform or "any"),
        ("needs", f"protocol {span(manifest.needs.protocol)}, shell {span(manifest.needs.shell)}"),
        *[("wheel", name) for name in manifest.wheels],
        *[("signature", _said(bundle.digest, one)) for one in bundle.signatures],
        *[("not here", reason) for reason in unmet_here(manifest)],
    ]
    if not bundle.signatures:
        rows.append(("signature", "none"))
    for name, value in rows:
        table.add_row(Text(name), Text(printable(value)))
    return table


def _said(digest: str, one: Signature) -> str:
    """A signature for people; whether the key is trusted is not asked."""
    if not signature.is_genuine(digest, one):
        return f"key {one.key}: not of this bundle"
    left = one.expires - time.time()
    when = f"{duration(left)} left" if left > 0 else "expired"
    return f"key {one.key}, until {moment(one.expires)} ({when})"

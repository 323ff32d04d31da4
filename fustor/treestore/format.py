"""
The bytes of a tree store: keys, heads, chunks, rows.

Rows are stored as the JSON text that is served, with the byte 0x01 where the path of their directory goes. The byte is
put in after encoding: an encoder writes a 0x01 of a name as ``\\u0001``, so the raw byte never means anything else.

Positions in a row's text are found without decoding it. That is safe: within a JSON string every quote is escaped, so
``{"name":"`` can only be the start of a row and ``"size":`` only a key.

What this module does not do: it opens nothing, and it does not put paths in (``render`` does).
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import threading
from collections.abc import Sequence

import attrs
import msgspec
import zstandard

from fustor.treestore.dictionary import DICTIONARY
from fustor.treestore.errors import StoreUnusableError
from protocols.data import Row

#: Version of this layout, in ``meta``.
FORMAT = 2
#: Store id of the top directory of a view.
ROOT_ID = 1
#: Parent of directories that no listing has named yet; it has no head.
LIMBO_ID = 0

#: Stands for the path of the directory in a row (no slash at its end, so empty for the top).
PLACEHOLDER = b"\x01"

#: Names longer than this are shortened in keys: LMDB's keys end at 511 bytes.
MAX_KEY_NAME = 400
#: How much of a longer name stays in its key; a 16-byte hash of the whole follows.
KEPT_KEY_NAME = 300
#: Length of the key of a shortened name.
SHORTENED = KEPT_KEY_NAME + 16

#: After the id in keys of ``tree``.
HEAD, CHILD = b"\x00", b"\x02"

# -- keys -----------------------------------------------------------------------------------------------------------

_ID = struct.Struct(">Q")
pack_id = _ID.pack


#: The id in an 8-byte value (big-endian, as is its default).
unpack_id = int.from_bytes


def name_key(name: bytes) -> bytes:
    """The form of a name in keys; the order of these is the order of rows and children."""
    if len(name) <= MAX_KEY_NAME:
        return name
    return name[:KEPT_KEY_NAME] + hashlib.blake2b(name, digest_size=16).digest()


def head_key(store_id: int) -> bytes:
    """Key of the head of a directory in ``tree``; the lowest of all its keys there."""
    return pack_id(store_id) + HEAD


def chunk_key(store_id: int, lowest: bytes) -> bytes:
    """Key in ``files`` of the chunk whose rows have name keys ≥ ``lowest``."""
    return pack_id(store_id) + lowest


def child_key(store_id: int, name: bytes) -> bytes:
    """Key in ``tree`` of the link to the child directory ``name``."""
    return pack_id(store_id) + CHILD + name_key(name)


# -- heads ----------------------------------------------------------------------------------------------------------

#: The directory has been listed whole at least once.
LISTED = 1
#: Parts of a listing came, the last one did not yet.
PARTIAL = 2
#: Its last listing failed; what is known of its content stays.
UNREADABLE = 4
#: Its attributes are its own row, which wins against its row in the parent's listing.
OWN = 8
#: Its name is not valid UTF-8, so no path below is.
ODD_NAME = 16
#: Parsers have found something in its files, now or before.
PARSED = 32

# parent, generation, files, directories, bytes (high, low), handle, source, flags, lengths of name and reason, seen
_HEAD = struct.Struct(">QQQQQQQHHHH16s")
_LENGTHS = struct.Struct(">HHH")  # flags, name, reason
_LENGTHS_AT = struct.calcsize(">QQQQQQQH")
HEAD_SIZE = _HEAD.size
_LOW = (1 << 64) - 1

#: A row without its name: mode, size, mtime_ns, ctime_ns, ino, uid, gid, nlink.
Attributes = tuple[int, int, int, int, int, int, int, int]
_pack_attributes = msgspec.msgpack.Encoder().encode
_unpack_attributes = msgspec.msgpack.Decoder(Attributes).decode
#: The attributes of a directory of which only the name is known.
BLANK: Attributes = (0o040000, 0, 0, 0, 0, 0, 0, 0)
#: ``Head.seen`` when nothing is known.
UNSEEN = bytes(16)


@attrs.define(slots=True, eq=True)
class Head:
    """
    The record of a directory.

    Attributes:
        parent: store id of its parent; 0 for the top and for directories in limbo.
        generation: the last commit that changed anything in the subtree.
        files, directories, size: rollup of the subtree: non-directories, directories (itself not counted), bytes of the
            non-directories.
        handle: its id at the agent, in the source's epoch in which it was last mentioned; 0 for none.
        source: index of the source of ``handle``.
        flags: ``LISTED`` and the others.
        name: its name as bytes; empty for the top.
        attributes: its row without the name.
        unreadable: name of the error of its last listing (errno(3)); empty when that was right.
        seen: digest of the page of its last whole listing, as long as its files are as that said; else ``UNSEEN``.
    """

    parent: int
    generation: int = 0
    files: int = 0
    directories: int = 0
    size: int = 0
    handle: int = 0
    source: int = 0
    flags: int = 0
    name: bytes = b""
    attributes: Attributes = BLANK
    unreadable: bytes = b""
    seen: bytes = UNSEEN

    def pack(self) -> bytes:
        """The stored form."""
        name, reason = self.name, self.unreadable
        fixed = _HEAD.pack(
            self.parent,
            self.generation,
            self.files,
            self.directories,
            self.size >> 64,
            self.size & _LOW,
            self.handle,
            self.source,
            self.flags,
            len(name),
            len(reason),
            self.seen,
        )
        return b"".join((fixed, name, reason, _pack_attributes(self.attributes)))

    @classmethod
    def unpack(cls, value: bytes) -> Head:
        """
        The head in ``value``.

        Raises:
            StoreUnusableError: it is no head.
        """
        try:
            parent, generation, files, directories, high, low, handle, source, flags, n, m, seen = _HEAD.unpack_from(
                value
            )
            end = HEAD_SIZE + n
            attributes = _unpack_attributes(value[end + m :])
        except (struct.error, msgspec.DecodeError):
            raise _damaged_head(value) from None
        return cls(
            parent,
            generation,
            files,
            directories,
            high << 64 | low,
            handle,
            source,
            flags,
            value[HEAD_SIZE:end],
            attributes,
            value[end : end + m],
            seen,
        )


def head_flags(value: bytes) -> int:
    """The flags of a stored head, without unpacking the rest."""
    return int.from_bytes(value[_LENGTHS_AT : _LENGTHS_AT + 2], "big")


def head_name(value: bytes) -> bytes:
    """The name in a stored head."""
    _, n, _ = _LENGTHS.unpack_from(value, _LENGTHS_AT)
    return value[HEAD_SIZE : HEAD_SIZE + n]


_ROLLUP_AT, _COUNTS_AT = 8, 16
_rollup = struct.Struct(">QQQQQ").unpack_from
_counts = struct.Struct(">QQ").unpack_from


def head_counts(value: bytes) -> tuple[int, int]:
    """
    How many files and directories there are in the subtree of a stored head, itself not counted.

    Raises:
        StoreUnusableError: it is no head.
    """
    try:
        return _counts(value, _COUNTS_AT)
    except struct.error:
        raise _damaged_head(value) from None


def head_rollup(value: bytes) -> tuple[int, int, int, int]:
    """
    Generation, files, directories and bytes of the subtree of a stored head, without unpacking the rest.

    Raises:
        StoreUnusableError: it is no head.
    """
    try:
        generation, files, directories, high, low = _rollup(value, _ROLLUP_AT)
    except struct.error:
        raise _damaged_head(value) from None
    return generation, files, directories, high << 64 | low


def head_text(value: bytes, path: bytes = PLACEHOLDER) -> tuple[bytes, int, bytes]:
    """
    The JSON text of a directory, from its stored head, without the closing brace; its flags; its name.

    Args:
        value: the stored head.
        path: the path of its parent as it stands between the quotes of a JSON string, without a slash at its end.

    Raises:
        StoreUnusableError: it is no head.
    """
    try:
        flags, n, m = _LENGTHS.unpack_from(value, _LENGTHS_AT)
        end = HEAD_SIZE + n
        name = value[HEAD_SIZE:end]
        attributes = _unpack_attributes(value[end + m :])
        if name.isascii():  # the same in fewer steps: there is one of these for every directory of an answer
            mode, size, mtime, ctime, ino, uid, gid, nlink = attributes
            shown, kind = name.decode(), CONTENT_TYPES[mode >> 12]
            modified, changed = mtime / NANOSECONDS, ctime / NANOSECONDS
            before = _BEFORE_NAME + shown
            node = _Node(shown, kind, before, size, modified, changed, False, mtime, ctime, ino, mode, uid, gid, nlink)
            text = _encode(node)[:-1].replace(_PATH_STAND_IN, _PATH + path, 1)
        else:
            text = encode_rows([(name, *attributes)])[:-1].replace(PLACEHOLDER, path)
    except (struct.error, msgspec.DecodeError, KeyError):
        raise _damaged_head(value) from None
    if m:
        text += _UNREADABLE + _encode(value[end : end + m].decode("ascii"))
    return text, flags, name


def _damaged_head(value: bytes) -> StoreUnusableError:
    return StoreUnusableError(f"tree store: a damaged head of {len(value)} bytes; run the check")


# -- chunks ---------------------------------------------------------------------------------------------------------

_RAW, _ZSTD = b"\x00", b"\x02"
# A listing of many rows is split into chunks of at most this many.
MAX_ROWS = 100

_dictionary = zstandard.ZstdCompressionDict(DICTIONARY)
_dictionary.precompute_compress(level=1)


class _Contexts(threading.local):
    """zstd contexts may be used by one thread at a time."""

    def __init__(self) -> None:
        compressor = zstandard.ZstdCompressor(dict_data=_dictionary, write_checksum=False, write_dict_id=False)
        self.compress = compressor.compress
        self.decompress = zstandard.ZstdDecompressor(dict_data=_dictionary).decompress


_contexts = _Contexts()


def pack_chunk(text: bytes) -> bytes:
    """The stored form of rows joined by commas: zstd where that is smaller, else as they are."""
    packed = _contexts.compress(text)
    return _ZSTD + packed if len(packed) < len(text) else _RAW + text


def unpack_chunk(value: bytes) -> bytes:
    """
    The rows of a chunk, joined by commas, with placeholders.

    Raises:
        StoreUnusableError: a codec we do not know, or damaged data.
    """
    if value.startswith(_ZSTD):
        try:
            return _contexts.decompress(value[1:])
        except (zstandard.ZstdError, MemoryError) as error:  # a damaged frame may claim any size
            raise StoreUnusableError(f"tree store: a damaged chunk: {error}; run the check") from None
    if value.startswith(_RAW):
        return value[1:]
    raise StoreUnusableError(f"tree store: a chunk with codec {value[:1]!r}; 0 (raw) and 2 (zstd) are known")


# -- rows -----------------------------------------------------------------------------------------------------------

#: ``content_type`` by the type bits of ``mode`` (inode(7), ``S_IFMT`` >> 12).
CONTENT_TYPES = {
    0o01: "fifo",
    0o02: "char",
    0o04: "directory",
    0o06: "block",
    0o10: "file",
    0o12: "symlink",
    0o14: "socket",
}

#: As an integer, for the quotient of two integers is correctly rounded.
NANOSECONDS = 1_000_000_000


class _Node(msgspec.Struct, gc=False):
    """What nearly every row looks like in JSON; the order of the fields is the order in the text."""

    name: str
    content_type: str
    path: str
    size: int
    modified_time: float
    created_time: float
    integrity_suspect: bool
    mtime_ns: int
    ctime_ns: int
    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int


class _OddNode(msgspec.Struct, gc=False):
    """A row with more: bytes that are not UTF-8, or a target."""

    name: str
    name_b64: str | msgspec.UnsetType
    content_type: str
    path: str
    size: int
    modified_time: float
    created_time: float
    integrity_suspect: bool
    mtime_ns: int
    ctime_ns: int
    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    target: str | msgspec.UnsetType = msgspec.UNSET
    target_b64: str | msgspec.UnsetType = msgspec.UNSET


_encode = msgspec.json.Encoder().encode
# While a page is encoded, a byte that the encoder lets through stands for the placeholder.
_STAND_IN = b"\x7f"
_BEFORE_NAME = "\x7f/"
_PATH = b'"path":"'
_PATH_STAND_IN, _PATH_PLACEHOLDER = _PATH + _STAND_IN, _PATH + PLACEHOLDER
_SURROGATES = re.compile("[\udc80-\udcff]")


def readable(name: bytes) -> str:
    """``name`` as text, with U+FFFD for each byte that is not UTF-8."""
    return _SURROGATES.sub("\ufffd", name.decode("utf-8", "surrogateescape"))


def encode_base64(raw: bytes) -> str:
    """The form of raw bytes in the ``_b64`` fields: base64 with the URL-safe alphabet, padded (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(raw).decode()


def valid_utf8(raw: bytes) -> bool:
    """``raw`` is UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _odd_node(row: Row) -> _OddNode:
    name, mode, size, mtime, ctime, ino, uid, gid, nlink = row[:9]
    text, unset = readable(name), msgspec.UNSET
    target = row[9] if len(row) > 9 else None
    return _OddNode(
        text,
        unset if valid_utf8(name) else encode_base64(name),
        CONTENT_TYPES[mode >> 12],
        _BEFORE_NAME + text,
        size,
        mtime / NANOSECONDS,
        ctime / NANOSECONDS,
        False,
        mtime,
        ctime,
        ino,
        mode,
        uid,
        gid,
        nlink,
        unset if target is None else readable(target),
        unset if target is None or valid_utf8(target) else encode_base64(target),
    )


def encode_rows(rows: Sequence[Row]) -> bytes:
    """
    The text of ``rows``, joined by commas, with placeholders.

    Raises:
        KeyError: a mode of a type that is none of ``CONTENT_TYPES``; the writer sorts those out before.
    """
    types = CONTENT_TYPES
    nodes: list[_Node] | list[_OddNode]
    try:
        before = _BEFORE_NAME
        nodes = [
            _Node(
                (text := name.decode()),
                types[mode >> 12],
                before + text,
                size,
                mtime / NANOSECONDS,
                ctime / NANOSECONDS,
                False,
                mtime,
                ctime,
                ino,
                mode,
                uid,
                gid,
                nlink,
            )
            for name, mode, size, mtime, ctime, ino, uid, gid, nlink in rows
        ]
    except ValueError:  # a name that is not UTF-8, or a row with a target
        nodes = [_odd_node(row) for row in rows]
    text = _encode(nodes)[1:-1]
    if text.count(_STAND_IN) == len(rows):
        return text.replace(_STAND_IN, PLACEHOLDER)
    return text.replace(_PATH_STAND_IN, _PATH_PLACEHOLDER)  # a name has that byte too


#: How each row begins, and what stands between two.
ROW_START, ROW_SEPARATOR = b'{"name":"', b',{"name":"'
_UNREADABLE = b',"unreadable":'


def row_prefix(name: bytes) -> bytes:
    """How the text of the row of ``name`` begins; no other row's text begins so."""
    start = ROW_START[:-1] + _encode(readable(name))
    if valid_utf8(name):
        return start + b',"content_type":'
    return start + b',"name_b64":"' + encode_base64(name).encode() + b'",'


def find_row(text: bytes, name: bytes) -> tuple[int, int]:
    """Start and end of the row of ``name`` in the text of a chunk; (-1, -1) when it has none."""
    start = text.find(row_prefix(name))
    if start < 0:
        return -1, -1
    end = text.find(ROW_SEPARATOR, start)
    return start, len(text) if end < 0 else end


def split_rows(text: bytes) -> list[bytes]:
    """The rows of a chunk's text, one by one."""
    if not text:
        return []
    first, *rest = text.split(ROW_SEPARATOR)
    return [first, *[ROW_START + row for row in rest]]


class _Named(msgspec.Struct, gc=False):
    name: str
    name_b64: str | None = None


_decode_name = msgspec.json.Decoder(_Named).decode
_AFTER_NAME = b'","content_type":'


def row_name(row: bytes) -> bytes:
    """
    The name of a row, from its text.

    Raises:
        StoreUnusableError: it is no row.
    """
    name = row[len(ROW_START) : row.find(b'"', len(ROW_START))]
    if b"\\" not in name and row.startswith(_AFTER_NAME, len(ROW_START) + len(name)) and row.startswith(ROW_START):
        return name  # nothing escaped, nothing odd: the text is the name
    try:
        # Only the first fields are of interest: cut before the path, for that has a raw control character.
        named = _decode_name(row[: row.index(b',"path":"')] + b"}")
        return named.name.encode() if named.name_b64 is None else base64.b64decode(named.name_b64, b"-_", validate=True)
    except (ValueError, msgspec.DecodeError) as error:
        raise StoreUnusableError(f"tree store: a damaged row: {error}; run the check") from None


def row_names(text: bytes) -> list[bytes]:
    """The names of all rows in a chunk's text; StoreUnusableError as :func:`row_name`."""
    if b"\\" in text or b'"name_b64":' in text or not text.startswith(ROW_START):
        return [row_name(row) for row in split_rows(text)]
    return [row.partition(b'"')[0] for row in text[len(ROW_START) :].split(ROW_SEPARATOR)]


_SIZES = re.compile(rb'"size":(\d+),')


def row_sizes(text: bytes) -> list[int]:
    """The sizes of all rows in a chunk's text."""
    return [int(size) for size in _SIZES.findall(text)]


def count_rows(text: bytes) -> int:
    """How many rows a chunk's text has."""
    return text.count(ROW_START)

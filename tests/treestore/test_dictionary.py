"""The dictionary is what chunks were written with: it may not change unseen."""

from __future__ import annotations

import hashlib

import zstandard

from fustor.treestore.dictionary import DICTIONARY
from fustor.treestore.format import FORMAT, encode_rows, pack_chunk
from tests.treestore.scenario import file_row


def test_another_dictionary_is_another_format() -> None:
    assert (FORMAT, hashlib.sha256(DICTIONARY).hexdigest()[:16]) == (2, "62c1bbd039c840fa")


def test_it_is_a_dictionary_and_makes_a_single_row_small() -> None:
    assert zstandard.ZstdCompressionDict(DICTIONARY, dict_type=zstandard.DICT_TYPE_FULLDICT).dict_id()
    row = encode_rows([file_row(b"quarter_final.csv")])
    assert len(pack_chunk(row)) < len(zstandard.compress(row)) / 2

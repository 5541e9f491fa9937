"""docs/test-vectors.md is true: every example on the page is computed here anew."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loyalty import ledger
from loyalty.card import card_key
from loyalty.ledger import Entry

PAGE = Path(__file__).parents[2] / "docs" / "test-vectors.md"
VECTORS: list[dict[str, Any]] = [
    json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M)
]
ENTRIES = [vector for vector in VECTORS if "entry" in vector]
CARDS = [vector for vector in VECTORS if vector["vector"] == "card_key"]


def entry_of(vector: dict[str, Any]) -> Entry:
    fields = dict(vector["entry"])
    if fields["document_sha256"] is not None:
        fields["document_sha256"] = bytes.fromhex(fields["document_sha256"])
    return msgspec.convert(list(fields.values()), Entry)


def test_the_page_has_a_sale_a_grant_and_cards() -> None:
    assert [vector["vector"] for vector in VECTORS] == ["SALE", "GRANT", "card_key", "card_key"]


@pytest.mark.parametrize("vector", ENTRIES, ids=lambda vector: vector["vector"])
def test_an_entry_has_the_bytes_and_the_chain_of_the_page(vector: dict[str, Any]) -> None:
    entry = entry_of(vector)
    assert list(vector["entry"]) == list(Entry.__struct_fields__)
    body = ledger.canonical(entry)
    assert body.hex() == vector["canonical"]
    assert ledger.parse(body) == entry
    writer, epoch = vector["genesis_of"]
    assert ledger.genesis(writer, epoch).hex() == vector["previous"]
    head = ledger.link(bytes.fromhex(vector["previous"]), body)
    assert head.hex() == vector["head"]
    assert ledger.fingerprint(head) == vector["fingerprint"]


@pytest.mark.parametrize("vector", ENTRIES, ids=lambda vector: vector["vector"])
def test_the_chain_is_what_the_page_says_in_words(vector: dict[str, Any]) -> None:
    """Once more without our functions: nothing but sha256 over the bytes that are named."""
    writer, epoch = vector["genesis_of"]
    packed = bytes([0x92, 0xA0 | len(writer)]) + writer.encode() + bytes([epoch])
    assert hashlib.sha256(b"kopilka-chain-1\0" + packed).hexdigest() == vector["previous"]
    both = bytes.fromhex(vector["previous"] + vector["canonical"])
    assert hashlib.sha256(both).hexdigest() == vector["head"]
    if "document" in vector:
        document = bytes.fromhex(vector["document"])
        assert hashlib.sha256(document).hexdigest() == vector["entry"]["document_sha256"]


@pytest.mark.parametrize("vector", CARDS, ids=lambda vector: vector["kind"])
def test_a_card_has_the_key_of_the_page(vector: dict[str, Any]) -> None:
    chain_key = bytes.fromhex(vector["chain_key"])
    assert card_key(chain_key, vector["kind"], vector["number"]) == vector["card_key"]
    digest = hmac.digest(chain_key, f"{vector['kind']}\0{vector['number']}".encode(), "sha256")
    assert int.from_bytes(digest[:8], "big") >> 1 == vector["card_key"]

"""What is asked of the Yjs library: merging is faithful, and what is let through can always be merged."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pycrdt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.rooms.documents.document import MANY, Document
from server.rooms.documents.updates import EMPTY, EMPTY_STATE, UpdateError, Updates

UPDATES = Updates()


def typed(text: str, client: int = 7) -> list[bytes]:
    """An update for each character of `text`, typed by one client."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=client)
    doc["text"] = shared = pycrdt.Text()
    made = []
    for character in text:
        before = doc.get_state()
        shared += character
        made.append(doc.get_update(before))
    return made


def text_of(update: bytes) -> str:
    """The text of whoever has `update`."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    doc.apply_update(update)
    return str(doc.get("text", type=pycrdt.Text))


def test_an_emoji_cut_in_half_is_merged_as_yjs_reads_it() -> None:
    whole = bytes.fromhex("01010700040101740861") + "b😀cd".encode() + b"\x00"
    # Yjs: insert(3, "x"), between the halves; origin (7, 2), right origin (7, 3).
    between = bytes.fromhex("01010706c40702070301780000")[:-1]
    merged = UPDATES.merge([whole, between])
    # One item of six units and one of one; neither was split.
    assert UPDATES.state(merged) == bytes.fromhex("010707")
    assert "b😀cd".encode() in merged
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    doc.apply_update(whole)
    doc.apply_update(between)
    # Where this begins to fail, the library has learned it, and documents could be built after all.
    assert "\ufffd" not in str(doc.get("t", type=pycrdt.Text))


@given(st.permutations(typed("hello")))
def test_the_order_of_updates_does_not_matter(updates: list[bytes]) -> None:
    merged = UPDATES.merge(updates)
    assert text_of(merged) == "hello"
    assert merged == UPDATES.merge(typed("hello"))


def test_what_is_missing_is_what_comes_behind_a_state() -> None:
    updates = typed("hello")
    whole = UPDATES.merge(updates)
    for count in range(1, len(updates)):
        known = UPDATES.merge(updates[:count])
        missing = UPDATES.missing(whole, UPDATES.state(known))
        assert text_of(UPDATES.merge([known, missing])) == "hello"
        assert len(missing) < len(whole)
    assert UPDATES.missing(whole, EMPTY_STATE) == whole
    assert UPDATES.missing(whole, UPDATES.state(whole)) == EMPTY


@pytest.mark.parametrize(
    "update",
    [
        b"",
        b"\xff",
        b"text",
        b"\x01\xff\xff\xff\xff\x0f\x07\x00",
        b"\xff\xff\xff\xff\x0f\x01\x01\x00",
        b"\x00\xff\xff\xff\xff\x0f",
        # Read, and written anew as what cannot be read.
        bytes.fromhex("010107d063020744abd90700027a7a00"),
        bytes.fromhex("0101075ea20004010174086162f09f9880636400"),
    ],
    ids=lambda update: update.hex() or "nothing",
)
def test_what_is_no_update_is_refused(update: bytes) -> None:
    with pytest.raises(UpdateError):
        UPDATES.check(update)


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(UpdateError):
        UPDATES.missing(UPDATES.merge(typed("x")), b"\xff\xff")


@settings(deadline=None)
@given(st.integers(), st.integers(1, 6))
def test_what_is_let_through_harms_no_document(seed: int, faults: int) -> None:
    chance = random.Random(seed)
    good = UPDATES.merge(typed("unharmed"))
    document = Document("d", UPDATES, good)
    for _ in range(30):
        data = bytearray(UPDATES.merge(typed("faulty", client=chance.choice((7, 8)))))
        for _ in range(faults):
            at = chance.randrange(len(data))
            data[at : at + chance.randint(0, 2)] = bytes(
                chance.choice((0, 1, 2, 4, 7, 8, 127, 128, 255)) for _ in range(chance.randint(0, 2))
            )
        try:
            UPDATES.check(bytes(data))
        except UpdateError:
            continue
        document.apply(bytes(data))
    whole = document.settle()
    assert document.state() == UPDATES.state(whole)
    missing = document.missing(EMPTY_STATE)
    assert UPDATES.merge([missing, good]) == UPDATES.merge([whole])


def test_a_document_merges_when_it_is_asked_or_has_many() -> None:
    document = Document("d", UPDATES)
    updates = typed("x" * 2 * MANY)
    for update in updates:
        document.apply(update)
    merged = UPDATES.merge(updates)
    # What waits by itself is never more than half of what has been merged, and a constant.
    assert document.size < 1.5 * len(merged) + 70_000
    assert text_of(document.missing(EMPTY_STATE)) == "x" * 2 * MANY
    assert document.size == len(merged)


def test_a_document_knows_what_it_has() -> None:
    document = Document("d", UPDATES)
    updates = typed("hello")
    assert document.is_empty
    for update in updates[:3]:
        document.apply(update)
    assert not document.is_empty
    assert document.has(EMPTY)
    assert all(document.has(update) for update in updates[:3])
    assert document.has(UPDATES.merge(updates[:3]))
    assert not document.has(updates[3])
    assert not document.has(UPDATES.merge(updates))


def test_many_clients_merge_to_the_same_bytes_in_any_order() -> None:
    made = list(itertools.chain(*(typed(f"client {client}", client) for client in range(1, 12))))
    chance = random.Random(3)
    merged = {UPDATES.merge(chance.sample(made, len(made))) for _ in range(5)}
    assert len(merged) == 1

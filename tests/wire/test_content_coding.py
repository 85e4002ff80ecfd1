"""Content codings: which one a client gets, that every flush can be decoded at once, and what they cost."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.wire.content_coding import Coding, UnacceptableError, negotiate, offered_codings
from tests.support.decoding import decoder_of
from tests.support.encoder_memory import measure_state_bytes, orders

CODINGS = offered_codings()
by_name = pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: coding.name)


def chosen(accept_encoding: str | None, codings: tuple[Coding, ...] = CODINGS) -> str:
    coding = negotiate(accept_encoding, codings)
    return coding.name if coding else "identity"


# Which there are


def test_all_codings_are_offered_where_their_libraries_are_installed() -> None:
    assert [coding.name for coding in CODINGS] == ["zstd", "gzip", "br"]


@pytest.mark.parametrize(
    ("missing", "left"),
    [
        ({"brotli"}, ["zstd", "gzip"]),
        ({"backports.zstd", "compression.zstd"}, ["gzip", "br"]),
        ({"backports", "compression", "brotli"}, ["gzip"]),
    ],
)
def test_a_coding_whose_library_is_missing_is_not_offered(
    monkeypatch: pytest.MonkeyPatch, missing: set[str], left: list[str]
) -> None:
    for module in list(sys.modules):
        if any(module.startswith(f"{name}.") for name in missing):
            monkeypatch.delitem(sys.modules, module)
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    assert [coding.name for coding in offered_codings()] == left


# Which one a client gets


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        (None, "identity"),
        ("", "identity"),
        (" , ", "identity"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "gzip"),
        ("br", "br"),
        ("br, deflate", "br"),
        ("BR;Q=1.0", "br"),
        ("x-gzip", "gzip"),
        ("deflate", "identity"),
        ("*", "zstd"),
        ("*;q=0.5, br", "br"),
        ("zstd;q=0, *", "gzip"),
        ("gzip;q=0.5, br;q=0.8, zstd;q=0.3", "br"),
        ("gzip ; q=0.001", "gzip"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.000, br;q=0.", "identity"),
        ("identity", "identity"),
        ("identity, gzip", "gzip"),
        ("identity, gzip;q=0.9", "identity"),
        ("identity;q=0.5, gzip;q=0.9", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("*;q=0, gzip", "gzip"),
        ("*;q=0, identity", "identity"),
        ("*;q=0.5, gzip;q=0.2, br;q=0, zstd;q=0", "identity"),
        # What is malformed was not said.
        ("gzip;q=2, br", "br"),
        ("gzip;q=0.1234", "identity"),
        ("gzip;q=-1", "identity"),
        ("gzip;level=9", "identity"),
        ("gzip;q=1;q=1", "identity"),
        ("gzip deflate", "identity"),
        ("gzip;q=½", "identity"),
    ],
)
def test_the_clients_weights_decide_and_then_our_order(accept_encoding: str | None, coding: str) -> None:
    assert chosen(accept_encoding) == coding


@pytest.mark.parametrize("accept_encoding", ["identity;q=0", "*;q=0", "deflate, *;q=0", "gzip;q=0, *;q=0"])
def test_a_client_that_accepts_nothing_there_is_cannot_be_served(accept_encoding: str) -> None:
    with pytest.raises(UnacceptableError):
        negotiate(accept_encoding, CODINGS)


def test_what_is_not_offered_is_not_chosen() -> None:
    gzip = tuple(coding for coding in CODINGS if coding.name == "gzip")
    assert chosen("zstd, br, gzip;q=0.1", gzip) == "gzip"
    assert chosen("zstd, br", gzip) == "identity"


@given(st.text(alphabet="gzipbrstd*;q=0.15, \t", max_size=60))
def test_whatever_is_said_only_what_was_named_or_starred_is_chosen(accept_encoding: str) -> None:
    try:
        coding = chosen(accept_encoding)
    except UnacceptableError:
        assert "0" in accept_encoding
    else:
        assert coding == "identity" or coding in accept_encoding or "*" in accept_encoding


# What they do


@settings(deadline=None)
@given(st.sampled_from(CODINGS), st.lists(st.binary(min_size=1, max_size=20_000), max_size=8))
def test_each_flush_can_be_decoded_at_once_and_the_end_is_known(coding: Coding, batches: list[bytes]) -> None:
    encoder, decoder = coding.encoder(), decoder_of(coding.name)
    for batch in batches:
        assert decoder.decode(encoder.encode(batch)) == batch
        assert not decoder.ended
    assert decoder.decode(encoder.finish()) == b""
    assert decoder.ended


@by_name
def test_what_is_larger_than_every_window_comes_through(coding: Coding) -> None:
    encoder, decoder = coding.encoder(), decoder_of(coding.name)
    # Repeats itself from much farther back than any encoder remembers.
    data = b"".join(orders(400, 200)) * 3
    for start in range(0, len(data), 65536):
        assert decoder.decode(encoder.encode(data[start : start + 65536])) == data[start : start + 65536]


@by_name
def test_small_events_get_much_smaller_although_each_is_flushed(coding: Coding) -> None:
    encoder = coding.encoder()
    events = orders(500, 200)
    assert sum(len(encoder.encode(event)) for event in events) < 0.35 * sum(map(len, events))


@by_name
def test_an_encoder_keeps_no_more_memory_than_the_ceiling_counts(coding: Coding) -> None:
    measured = measure_state_bytes(coding.name, states=200)
    assert 0.5 * coding.state_bytes < measured <= coding.state_bytes

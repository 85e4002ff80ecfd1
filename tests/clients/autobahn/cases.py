"""Autobahn's cases of groups 1 to 7 and 10, as data: what is sent, what comes back, how it ends.

The numbers and bytes are those of the testsuite (crossbario/autobahn-testsuite), the verdict is its "OK":
where it also lets pass an end that comes late (NON_STRICT) or a dropped connection in place of a close frame,
these cases do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.support.raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, close, frame


@dataclass(frozen=True)
class Send:
    """Write these bytes, in pieces of `chop` where given."""

    data: bytes
    chop: int | None = None


@dataclass(frozen=True)
class StillOpen:
    """Nothing comes for a moment, and the connection stays open."""


@dataclass(frozen=True)
class Answered:
    """These frames come now, before anything else is sent."""

    frames: tuple[Frame, ...]


Step = Send | StillOpen | Answered


@dataclass(frozen=True)
class Case:
    """One case.

    `answers` are the sequences of frames one of which has to come, in all; `codes` those that the server's
    close frame may have.  Where `client_closes`, the client sends 1000 once the answers are there; otherwise
    the steps hold what makes the server end the connection.
    """

    id: str
    steps: tuple[Step, ...]
    answers: tuple[tuple[Frame, ...], ...] = ((),)
    codes: tuple[int, ...] = (1000,)
    client_closes: bool = True


def _echoed(id: str, *sent: bytes, back: Sequence[Frame] = (), chop: int | None = None) -> Case:
    """`sent`, one write each, brings `back`, and the connection goes on."""
    return Case(id, tuple(Send(data, chop) for data in sent), (tuple(back),))


def _failed(
    id: str,
    *sent: bytes,
    code: int = 1002,
    after: Sequence[Frame] = (),
    chop: int | None = None,
) -> Case:
    """`sent`, one write each, makes the server fail the connection with `code`, `after` these answers."""
    return Case(id, tuple(Send(data, chop) for data in sent), (tuple(after),), (code,), client_closes=False)


def _closed(id: str, *sent: bytes, codes: tuple[int, ...] = (1000,), after: Sequence[Frame] = ()) -> Case:
    """`sent`, in one write, holds a close frame; nothing is answered behind it."""
    return Case(id, (Send(b"".join(sent)),), (tuple(after),), codes, client_closes=False)


def _text(payload: bytes) -> Frame:
    return Frame(TEXT, payload)


def _part(payload: bytes, *, first: bool = False, last: bool = False) -> bytes:
    return frame(TEXT if first else CONTINUATION, payload, fin=last)


def _parts(payloads: Sequence[bytes]) -> list[bytes]:
    """A text message in fragments."""
    last = len(payloads) - 1
    return [_part(payload, first=i == 0, last=i == last) for i, payload in enumerate(payloads)]


def _bytewise(payload: bytes) -> bytes:
    return b"".join(_parts([payload[i : i + 1] for i in range(len(payload))]))


def _framing() -> Iterator[Case]:
    sizes = (0, 125, 126, 127, 128, 65535, 65536, 65536)
    for group, opcode, byte in ((1, TEXT, b"*"), (2, BINARY, b"\xfe")):
        for number, size in enumerate(sizes, 1):
            payload = byte * size
            chop = 997 if number == 8 else None
            yield _echoed(
                f"1.{group}.{number}", frame(opcode, payload), back=[Frame(opcode, payload)], chop=chop
            )


def _pings() -> Iterator[Case]:
    hello, most = b"Hello, world!", b"\xfe" * 125
    for number, payload in enumerate((b"", hello, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", most), 1):
        yield _echoed(f"2.{number}", frame(PING, payload), back=[Frame(PONG, payload)])
    yield _failed("2.5", frame(PING, b"\xfe" * 126))
    yield _echoed("2.6", frame(PING, most), back=[Frame(PONG, most)], chop=1)
    unsolicited = frame(PONG, b"unsolicited pong payload")
    yield _echoed("2.7", frame(PONG))
    yield _echoed("2.8", unsolicited)
    yield _echoed("2.9", unsolicited, frame(PING, b"ping payload"), back=[Frame(PONG, b"ping payload")])
    payloads = [b"payload-%d" % i for i in range(10)]
    pings = [frame(PING, payload) for payload in payloads]
    pongs = [Frame(PONG, payload) for payload in payloads]
    yield _echoed("2.10", *pings, back=pongs)
    yield _echoed("2.11", *pings, back=pongs, chop=1)


SMALL = b"Hello, world!"


def _reserved_bits() -> Iterator[Case]:
    text, ping = frame(TEXT, SMALL), frame(PING)
    echo = [_text(SMALL)]
    yield _failed("3.1", frame(TEXT, SMALL, rsv=1))
    yield _failed("3.2", text + frame(TEXT, SMALL, rsv=2) + ping, after=echo)
    yield _failed("3.3", text, frame(TEXT, SMALL, rsv=3), ping, after=echo)
    yield _failed("3.4", text, frame(TEXT, SMALL, rsv=4), ping, after=echo, chop=1)
    yield _failed("3.5", frame(BINARY, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", rsv=5))
    yield _failed("3.6", frame(PING, SMALL, rsv=6))
    yield _failed("3.7", frame(CLOSE, (1000).to_bytes(2, "big"), rsv=7))


def _opcodes() -> Iterator[Case]:
    text, ping = frame(TEXT, SMALL), frame(PING)
    for group, first in ((1, 3), (2, 11)):
        yield _failed(f"4.{group}.1", frame(first))
        yield _failed(f"4.{group}.2", frame(first + 1, b"reserved opcode payload"))
        yield _failed(f"4.{group}.3", text + frame(first + 2) + ping, after=[_text(SMALL)])
        yield _failed(f"4.{group}.4", text, frame(first + 3, SMALL), ping, after=[_text(SMALL)])
        yield _failed(f"4.{group}.5", text, frame(first + 4, SMALL), ping, after=[_text(SMALL)], chop=1)


def _three_ways(first: int, *frames: bytes) -> Iterator[tuple[str, tuple[bytes, ...], int | None]]:
    """All in one write, one write each, and byte by byte: three cases in a row."""
    yield f"5.{first}", (b"".join(frames),), None
    yield f"5.{first + 1}", frames, None
    yield f"5.{first + 2}", frames, 1


def _fragmentation() -> Iterator[Case]:
    one, two, three, four = b"fragment1", b"fragment2", b"fragment3", b"fragment4"
    whole = _text(one + two)
    for number, opcode in ((1, PING), (2, PONG)):
        yield _failed(f"5.{number}", frame(opcode, one, fin=False) + _part(two, last=True))
    for name, sent, chop in _three_ways(3, *_parts([one, two])):
        yield _echoed(name, *sent, back=[whole], chop=chop)
    begin, end = _parts([one, two])
    ping, pong = frame(PING, b"ping payload"), Frame(PONG, b"ping payload")
    for name, sent, chop in _three_ways(6, begin, ping, end):
        yield _echoed(name, *sent, back=[pong, whole], chop=chop)
    for first, last in ((9, True), (12, False)):
        stray = _part(b"non-continuation payload", last=last)
        for name, sent, chop in _three_ways(first, stray, frame(TEXT, SMALL)):
            yield _failed(name, *sent, chop=chop)
    yield _failed("5.15", begin + end + _part(three) + frame(TEXT, four), after=[whole])
    for number, last in ((16, False), (17, True)):
        triple = (_part(one, last=last), frame(TEXT, two, fin=False), _part(three, last=True))
        yield _failed(f"5.{number}", b"".join(triple * 2))
    yield _failed("5.18", frame(TEXT, one, fin=False) + frame(TEXT, two))
    yield from _pings_between_fragments()


def _pings_between_fragments() -> Iterator[Case]:
    payloads = [b"fragment%d" % i for i in range(1, 6)]
    parts = _parts(payloads)
    pings = [frame(PING, b"pongme %d!" % i) for i in (1, 2)]
    pongs = [Frame(PONG, b"pongme %d!" % i) for i in (1, 2)]
    before, after = [*parts[:2], pings[0]], [*parts[2:4], pings[1], parts[4]]
    answers = ((*pongs, _text(b"".join(payloads))),)
    for number, (first, second) in (
        (19, ([b"".join(before)], [b"".join(after)])),
        (20, (before, after)),
    ):
        yield Case(
            f"5.{number}",
            (*map(Send, first), Answered((pongs[0],)), StillOpen(), *map(Send, second)),
            answers,
        )


KOSME = "\u03ba\u1f79\u03c3\u03bc\u03b5".encode()
"""A Greek word, of characters of two and three bytes (the accent is U+1F79, as in the suite)."""
_UMLAUTS = "Hello-µ@ßöäüàá-UTF-8!!".encode()


def _utf8_fragments() -> Iterator[Case]:
    yield _echoed("6.1.1", frame(TEXT), back=[_text(b"")])
    yield _echoed("6.1.2", b"".join(_parts([b""] * 3)), back=[_text(b"")])
    middle = b"middle frame payload"
    yield _echoed("6.1.3", b"".join(_parts([b"", middle, b""])), back=[_text(middle)])
    yield _echoed("6.2.1", frame(TEXT, _UMLAUTS), back=[_text(_UMLAUTS)])
    cut = len("Hello-µ@ßöä".encode())
    yield _echoed("6.2.2", *_parts([_UMLAUTS[:cut], _UMLAUTS[cut:]]), back=[_text(_UMLAUTS)])
    yield _echoed("6.2.3", _bytewise(_UMLAUTS), back=[_text(_UMLAUTS)])
    yield _echoed("6.2.4", _bytewise(KOSME), back=[_text(KOSME)])
    surrogate = KOSME + b"\xed\xa0\x80edited"
    yield _failed("6.3.1", frame(TEXT, surrogate), code=1007)
    yield _failed("6.3.2", _bytewise(surrogate), code=1007)


def _utf8_fail_fast() -> Iterator[Case]:
    """The second piece makes the text invalid; the third one is never sent, so the server cannot wait."""
    broken = KOSME + b"\xf4\x90\x80\x80edited"
    for number, ends in ((1, (11, 15)), (2, (12, 13))):
        pieces = [broken[start:end] for start, end in pairwise((0, *ends))]
        fragments = [_part(pieces[0], first=True), _part(pieces[1])]
        yield Case(
            f"6.4.{number}",
            (Send(fragments[0]), StillOpen(), Send(fragments[1])),
            codes=(1007,),
            client_closes=False,
        )
        whole = frame(TEXT, broken)
        head = len(whole) - len(broken)
        chops = [whole[: head + ends[0]], whole[head + ends[0] : head + ends[1]]]
        yield Case(
            f"6.4.{number + 2}",
            (Send(chops[0]), StillOpen(), Send(chops[1])),
            codes=(1007,),
            client_closes=False,
        )


_MISSING = [
    *("c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf")
]
_NONCHARACTERS = [
    chr(plane << 16 | 0xFFFE | last).encode().hex() for plane in range(1, 17) for last in (0, 1)
]

UTF8_SEQUENCES: tuple[tuple[str, ...], ...] = (
    # 5: valid text
    (
        "68656c6c6f24776f726c64",
        "68656c6c6fc2a2776f726c64",
        "68656c6c6fe282ac776f726c64",
        "68656c6c6ff0a4ada2776f726c64",
        KOSME.hex(),
    ),
    # 6: all prefixes of valid text
    tuple(KOSME[:end].hex() for end in range(1, len(KOSME) + 1)),
    # 7: first sequence of each length
    ("00", "c280", "e0a080", "f0908080"),
    # 8: the same with five and six bytes
    ("f888808080", "fc8480808080"),
    # 9: last sequence of each length
    ("7f", "dfbf", "efbfbf", "f48fbfbf"),
    # 10: last ones beyond what Unicode has
    ("f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"),
    # 11: other boundaries
    ("ed9fbf", "ee8080", "efbfbd", "f48fbfbf", "f4908080"),
    # 12: unexpected continuation bytes
    (*("80", "bf", "80bf", "80bf80", "80bf80bf", "80bf80bf80", "80bf80bf80bf"), bytes(range(128, 191)).hex()),
    # 13: lonely start bytes, a space behind each
    tuple(
        b"".join(bytes((byte, 0x20)) for byte in range(*ends)).hex()
        for ends in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
    ),
    # 14: sequences whose last byte is missing
    tuple(_MISSING),
    # 15: those in a row
    ("".join(_MISSING),),
    # 16: impossible bytes
    ("fe", "ff", "fefeffff"),
    # 17: overlong slash
    ("c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"),
    # 18: greatest overlong sequences
    ("c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"),
    # 19: overlong NUL
    ("c080", "e08080", "f0808080", "f880808080", "fc8080808080"),
    # 20: single surrogates
    ("eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"),
    # 21: pairs of surrogates
    tuple(high + low for high in ("eda080", "edadbf", "edae80", "edafbf") for low in ("edb080", "edbfbf")),
    # 22: noncharacters, which are valid
    ("efbfbe", "efbfbf", *_NONCHARACTERS),
    # 23: specials, which are valid
    ("efbfb9", "efbfba", "efbfbb", "efbfbc", "efbfbd", "efbfbe", "efbfbf"),
)
"""Kuhn's UTF-8 decoder test in hexadecimal; the first group is case 6.5."""


def _utf8_sequences() -> Iterator[Case]:
    for group, sequences in enumerate(UTF8_SEQUENCES, 5):
        for number, sequence in enumerate(sequences, 1):
            payload = bytes.fromhex(sequence)
            sent = frame(TEXT, payload)
            try:
                payload.decode()
            except UnicodeDecodeError:
                yield _failed(f"6.{group}.{number}", sent, code=1007)
            else:
                yield _echoed(f"6.{group}.{number}", sent, back=[_text(payload)])


VALID_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
INVALID_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)


def _closes() -> Iterator[Case]:
    hello = b"Hello World!"
    text, ping = frame(TEXT, hello), frame(PING)
    yield _closed("7.1.1", text, close(), after=[_text(hello)])
    yield _closed("7.1.2", close(), close())
    yield _closed("7.1.3", close(), ping)
    yield _closed("7.1.4", close(), text)
    yield _closed("7.1.5", _part(b"fragment1", first=True), close(), _part(b"fragment2", last=True))
    big = b"BAsd7&jh23" * (256 * 1024 // 10) + b"BAsd7&"
    # Informational in Autobahn: the echo may be cut off by the close.
    yield Case(
        "7.1.6",
        (Send(frame(TEXT, big) + text + close() + ping),),
        ((_text(big), _text(hello)), (_text(big),), ()),
        client_closes=False,
    )
    yield _closed("7.3.1", close(None), codes=(1000, 1005))
    yield _closed("7.3.2", frame(CLOSE, b"a"), codes=(1002,))
    yield _closed("7.3.3", close())
    yield _closed("7.3.4", close(1000, hello))
    yield _closed("7.3.5", close(1000, b"*" * 123))
    yield _closed("7.3.6", close(1000, b"*" * 124), codes=(1002,))
    yield _closed("7.5.1", close(1000, KOSME + b"\xed\xa0\x80edited"), codes=(1007,))
    for number, code in enumerate(VALID_CODES, 1):
        yield _closed(f"7.7.{number}", close(code), codes=(1000, code))
    for number, code in enumerate(INVALID_CODES, 1):
        yield _closed(f"7.9.{number}", close(code), codes=(1002,))
    # Informational in Autobahn: no specification says what a server does.
    for number, code in ((1, 5000), (2, 65535)):
        yield _closed(f"7.13.{number}", close(code), codes=(1000, 1002, code))


def _auto_fragmentation() -> Iterator[Case]:
    payload = b"*" * 65536
    parts = [payload[i : i + 1300] for i in range(0, len(payload), 1300)]
    yield _echoed("10.1.1", *_parts(parts), back=[_text(payload)])


CASES: tuple[Case, ...] = (
    *_framing(),
    *_pings(),
    *_reserved_bits(),
    *_opcodes(),
    *_fragmentation(),
    *_utf8_fragments(),
    *_utf8_fail_fast(),
    *_utf8_sequences(),
    *_closes(),
    *_auto_fragmentation(),
)

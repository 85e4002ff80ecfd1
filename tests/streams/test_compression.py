"""Compressed event streams, in memory: how they are asked for, what they carry, and how they end."""

from __future__ import annotations

import json
import os
import random
import re
from typing import cast

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, lockstep_stream_pair

from server.lifecycle import CloseReason
from server.settings import Settings
from server.streams import CompressedStream, compressed
from server.streams.compression import PIECE_BYTES, WRITE_THROUGH_BYTES
from server.transport import ByteStream, Framing, Sent
from server.wire.content_coding import Coding, offered_codings
from tests.streams.test_without_handover import AsgiClient, opened, piece
from tests.streams.wires import Wire, event_stream, open_services, publish
from tests.support.cancel import cancel_at_each_step
from tests.support.decoding import decoder_of
from tests.support.http_peer import EventReader, World, open_world
from tests.support.sse import Event, SSEParser

CODINGS = offered_codings()
NAMES = [coding.name for coding in CODINGS]
EVENTS = "/topics/news/events?compress=1"
CHROMIUM = "gzip, deflate, br, zstd"

by_name = pytest.mark.parametrize("name", NAMES)
by_coding = pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: coding.name)


async def subscribe(world: World, name: str, query: str = "") -> EventReader:
    """A stream in the coding `name`, behind its first block."""
    events = await world.connect().open_events(EVENTS + query, accept_encoding=name)
    assert events.headers["content-encoding"] == name
    first = await events.next()
    assert (first.data, first.retry is not None, first.id is not None) == (None, True, True)
    return events


def drain(world: World) -> None:
    world.application.gate.close()
    for stream in list(world.application.registry.streams.values()):
        stream.end(CloseReason.SERVER_DRAINING)


# How it is asked for


@pytest.mark.parametrize(
    ("query", "accept_encoding", "coding"),
    [
        ("?compress=1", CHROMIUM, "zstd"),
        ("?compress=1", "gzip, deflate, br", "gzip"),
        ("?compress=1", "deflate", None),
        ("?compress=0", CHROMIUM, None),
        ("", CHROMIUM, None),
    ],
)
async def test_a_stream_is_compressed_where_that_was_asked_for_and_the_client_can_take_it(
    autojump_clock: MockClock, query: str, accept_encoding: str, coding: str | None
) -> None:
    async with open_world() as world:
        peer = world.connect()
        events = await peer.open_events(f"/topics/news/events{query}", accept_encoding=accept_encoding)
        assert events.status == 200
        assert events.headers.get("content-encoding") == coding
        assert events.headers["content-type"] == "text/event-stream"
        varies = {name.strip().lower() for name in events.headers["vary"].split(",")}
        assert varies >= ({"accept", "accept-encoding"} if query == "?compress=1" else {"accept"})
        assert (await events.next()).retry is not None


async def test_a_client_that_says_nothing_gets_the_stream_as_it_is(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events(EVENTS)
        assert "content-encoding" not in events.headers
        assert "accept-encoding" in events.headers["vary"].lower()
        assert (await events.next()).retry is not None


@by_name
async def test_head_answers_the_same_head(autojump_clock: MockClock, name: str) -> None:
    async with open_world() as world:
        asked = await world.request("HEAD", EVENTS, accept_encoding=name)
        events = await subscribe(world, name)
        both = ("content-encoding", "vary", "content-type", "cache-control")
        assert [asked.headers[each] for each in both] == [events.headers[each] for each in both]
        assert asked.body == b""


@pytest.mark.parametrize("value", ["", "2", "01", "-1", "yes", "gzip", "true"])
async def test_another_value_is_refused(autojump_clock: MockClock, value: str) -> None:
    async with open_world() as world:
        answer = await world.request("GET", f"/topics/news/events?compress={value}")
        assert answer.problem == (400, "query_invalid")


@pytest.mark.parametrize("accept_encoding", ["identity;q=0", "deflate, *;q=0"])
async def test_a_client_that_takes_nothing_there_is_is_told_what_there_is(
    autojump_clock: MockClock, accept_encoding: str
) -> None:
    async with open_world() as world:
        answer = await world.request("GET", EVENTS, accept_encoding=accept_encoding)
        assert answer.problem == (406, "form_unacceptable")
        assert answer.json()["detail"] == "Available here: zstd, gzip, br, identity."
        plain = await world.connect().open_events("/topics/news/events", accept_encoding=accept_encoding)
        assert plain.status == 200


# What it carries


@by_name
async def test_each_event_arrives_at_once(autojump_clock: MockClock, name: str) -> None:
    async with open_world() as world:
        started = trio.current_time()
        events = await subscribe(world, name)
        for number in range(20):
            published = await world.publish("news", {"n": number})
            assert await events.next() == Event(id=published, data=f'{{"n":{number}}}')
        assert trio.current_time() == started


@by_name
async def test_a_replay_and_what_follows_it_arrive(autojump_clock: MockClock, name: str) -> None:
    async with open_world() as world:
        ids = [await world.publish("news", n) for n in range(200)]
        events = await subscribe(world, name, "&last_event_id=earliest")
        assert [(await events.next()).id for _ in ids] == ids
        published = await world.publish("news", "live")
        assert (await events.next()).id == published


@by_name
async def test_silence_is_broken(autojump_clock: MockClock, name: str) -> None:
    async with open_world() as world:
        events = await subscribe(world, name)
        started = trio.current_time()
        for beat in (1, 2, 3):
            assert await events.next() == Event(comment="")
            assert 15 * beat <= trio.current_time() - started <= 15 * beat + beat + 1


@by_name
async def test_a_message_larger_than_a_piece_arrives_whole(autojump_clock: MockClock, name: str) -> None:
    async with open_world() as world:
        events = await subscribe(world, name)
        text = os.urandom(PIECE_BYTES * 2).hex()
        await world.publish("news", text)
        assert json.loads((await events.next()).data or "") == text


@by_name
async def test_a_compressed_subscriber_and_a_plain_one_get_the_same(
    autojump_clock: MockClock, name: str
) -> None:
    async with open_world() as world:
        packed = await subscribe(world, name)
        plain = await world.connect().open_events("/topics/news/events")
        await plain.next()
        await world.application.events.hub.wait_watched("news")
        ids = [await world.publish("news", n) for n in range(5)]
        for events in (packed, plain):
            assert [(await events.next()).id for _ in ids] == ids


# How it ends


@by_name
async def test_a_drain_ends_it_with_closing_and_the_end_of_the_coding(
    autojump_clock: MockClock, name: str
) -> None:
    async with open_world() as world:
        events = await subscribe(world, name)
        number = await world.publish("news", 1)
        drain(world)
        message, closing = await events.rest()
        assert message.id == number
        assert closing.event == "closing"
        assert json.loads(closing.data or "")["reason"] == "server_draining"
        assert events.complete
        assert events.decoder.ended
        assert (await world.stats())["closed"] == {"events": {"server_draining": 1}}


@by_name
async def test_over_http_1_0_the_coding_stands_without_chunks(autojump_clock: MockClock, name: str) -> None:
    async with open_world() as world:
        peer = world.connect()
        await peer.stream.send_all(f"GET {EVENTS} HTTP/1.0\r\nAccept-Encoding: {name}\r\n\r\n".encode())
        await world.application.events.hub.wait_watched("news")
        drain(world)
        head, _, body = (await peer.exchange(b"")).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        decoder = decoder_of(name)
        assert SSEParser().feed(decoder.decode(body))[-1].event == "closing"
        assert decoder.ended


@by_name
async def test_a_slow_consumer_is_cut_off_without_the_end_of_the_coding(
    autojump_clock: MockClock, name: str
) -> None:
    async with open_world(Settings(capacity=3)) as world:
        peer = world.connect(lockstep_stream_pair)
        events = await peer.open_events(EVENTS, accept_encoding=name)
        await events.next()
        await world.application.events.hub.wait_watched("news")
        for n in range(10):
            await world.publish("news", n)
        assert all(event.event != "closing" for event in await events.rest())
        assert events.complete is False
        assert not events.decoder.ended
        stats = await world.stats()
        assert stats["closed"] == {"events": {"slow_consumer": 1}}
        assert (stats["subscriptions"], stats["messages"]["dropped"], stats["leaked"]) == (0, 1, 0)


@by_name
async def test_a_client_that_goes_away_leaves_nothing(autojump_clock: MockClock, name: str) -> None:
    async with open_world() as world:
        events = await subscribe(world, name)
        await events.peer.aclose()
        await world.wait_no_stream()
        assert (await world.stats())["closed"] == {"events": {"client_disconnected": 1}}


@pytest.mark.parametrize("end", ["drain", "cut"])
@by_name
async def test_without_a_handover_it_is_the_same_over_asgi(
    autojump_clock: MockClock, name: str, end: str
) -> None:
    async with opened() as application:
        client = AsgiClient(application, EVENTS, body=[piece(b"", more=False)])
        client.scope["headers"].append((b"accept-encoding", name.encode()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            await trio.sleep(20)
            (stream,) = application.registry.streams.values()
            if end == "drain":
                stream.end(CloseReason.SERVER_DRAINING)
            else:
                stream.close(CloseReason.SLOW_CONSUMER)
        assert (b"content-encoding", name.encode()) in client.sent[0]["headers"]
        decoder = decoder_of(name)
        events = SSEParser().feed(decoder.decode(client.body))
        assert any(event.comment is not None for event in events)
        assert decoder.ended == client.complete == (end == "drain")
        assert (events[-1].event == "closing") == (end == "drain")


class CodedWire(Wire):
    """A `Wire` whose client decodes."""

    def __init__(self, coding: Coding) -> None:
        super().__init__()
        self.decoder = decoder_of(coding.name)

    def _take(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self.events += self._parser.feed(self.decoder.decode(data))


@pytest.mark.time_limit(10_000)
@by_coding
async def test_a_stream_cancelled_at_any_step_leaves_nothing(
    autojump_clock: MockClock, coding: Coding
) -> None:
    async with open_services() as services:
        registry, hub = services.registry, services.hub
        await publish(services, *map(str, range(100)))
        wire = CodedWire(coding)
        complete = False

        async def live() -> None:
            nonlocal wire, complete
            wire, complete = CodedWire(coding), False
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish_and_drain)
                await compressed(event_stream(services, catch_up=True).run, coding)(wire)
                complete = True

        async def publish_and_drain() -> None:
            await trio.sleep(1)
            await publish(services, "a", "b")
            await trio.sleep(20)
            for stream in list(registry.streams.values()):
                stream.end(CloseReason.SERVER_DRAINING)

        def nothing_left(step: int) -> None:
            assert registry.streams == {}
            assert (hub.subscriptions, hub.buffered_bytes, registry.leaked) == (0, 0, 0)
            assert not services.heartbeats._ticker.kept
            # Only the client of a whole answer may take it for one.  The end can be on its way already when
            # the cancellation comes.
            assert wire.decoder.ended or not complete

        assert await cancel_at_each_step(live, after=nothing_left) > 10
        assert wire.data[-2:] == ["a", "b"]
        assert [event.event for event in wire.events[-1:]] == ["closing"]
        assert any(event.comment is not None for event in wire.events)
        assert wire.decoder.ended


# The stream by itself


class RecordingStream:
    """Remembers each write, and answers `try_send` as told."""

    def __init__(self, framing: Framing) -> None:
        self.framing = framing
        self.bytes_sent = 0
        self.writes: list[bytes] = []
        self.answer = Sent.SENT
        self._rest = b""

    def try_send(self, frame: bytes) -> Sent:
        taken = {Sent.SENT: len(frame), Sent.KEPT: len(frame) // 2}.get(self.answer, 0)
        if self.answer is Sent.KEPT:
            self._rest = frame[taken:]
        self._record(frame[:taken])
        return self.answer

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        rest, self._rest = self._rest, b""
        self._record(rest + data)

    def _record(self, data: bytes) -> None:
        self.writes.append(data)
        self.bytes_sent += len(data)


def incompressible(size: int) -> bytes:
    return random.Random(size).randbytes(size)


CHUNK = re.compile(rb"([0-9a-f]+)\r\n")


def unframed(write: bytes, framing: Framing) -> bytes:
    """The payload of a write, which must be one chunk where chunks are what it takes."""
    if framing is Framing.IDENTITY:
        return write
    match = CHUNK.match(write)
    assert match is not None
    payload = write[match.end() : -2]
    assert write.endswith(b"\r\n")
    assert int(match[1], 16) == len(payload) > 0
    return payload


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CODINGS),
    st.sampled_from(Framing),
    st.lists(st.binary(max_size=500) | st.integers(1, 3 * PIECE_BYTES), max_size=6),
)
def test_each_write_can_be_decoded_when_it_has_arrived(
    coding: Coding, framing: Framing, batches: list[bytes | int]
) -> None:
    """A number among `batches` is so many bytes that cannot be compressed."""
    inner, decoder = RecordingStream(framing), decoder_of(coding.name)

    def arrived() -> bytes:
        writes, inner.writes = inner.writes, []
        assert all(len(write) <= PIECE_BYTES + 1024 for write in writes)
        return b"".join(decoder.decode(unframed(write, framing)) for write in writes if write)

    async def write_all() -> None:
        stream = CompressedStream(inner, coding.encoder())
        for given_batch in batches:
            batch = incompressible(given_batch) if isinstance(given_batch, int) else given_batch
            await stream.send_all(batch)
            # One flush for each write, however many events were joined in it.
            assert len(inner.writes) == max(1, -(-len(batch) // PIECE_BYTES))
            assert stream.bytes_sent == inner.bytes_sent
            assert arrived() == batch
            assert not decoder.ended
        await stream.finish()
        assert stream.bytes_sent == inner.bytes_sent
        assert arrived() == b""
        assert decoder.ended

    trio.run(write_all)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(CODINGS),
    st.lists(
        st.tuples(
            st.sampled_from([Sent.SENT, Sent.KEPT, Sent.BUSY, None]),
            st.binary(min_size=1, max_size=100)
            | st.sampled_from([WRITE_THROUGH_BYTES, WRITE_THROUGH_BYTES + 1]),
        ),
        max_size=12,
    ),
)
def test_frames_offered_and_written_never_change_places(
    coding: Coding, frames: list[tuple[Sent | None, bytes | int]]
) -> None:
    """Each frame is offered, with what the connection will answer, or written (None).  A number is so many
    bytes that cannot be compressed.
    """
    inner, decoder = RecordingStream(Framing.IDENTITY), decoder_of(coding.name)

    async def send_as_a_subscription_does() -> None:
        stream = CompressedStream(inner, coding.encoder())
        for answer, given_frame in frames:
            frame = incompressible(given_frame) if isinstance(given_frame, int) else given_frame
            if answer is not None:
                inner.answer = answer
                sent = stream.try_send(frame)
                assert (sent is Sent.BUSY) == (len(frame) > WRITE_THROUGH_BYTES)
                assert sent in (Sent.SENT, Sent.KEPT, Sent.BUSY)
                if sent is Sent.KEPT:
                    # What follows before the rest has left is not taken.
                    assert answer is Sent.KEPT or stream.try_send(b"overtakes") is Sent.BUSY
                    await stream.send_all(b"")
            if answer is None or sent is Sent.BUSY:
                await stream.send_all(frame)
            # Whatever was taken can be decoded by now.
            arrived, inner.writes = b"".join(inner.writes), []
            assert decoder.decode(arrived) == frame
            assert stream.bytes_sent == inner.bytes_sent
        await stream.finish()
        assert decoder.decode(b"".join(inner.writes)) == b""
        assert decoder.ended

    trio.run(send_as_a_subscription_does)


async def test_the_end_of_the_coding_leaves_behind_the_rest(autojump_clock: MockClock) -> None:
    inner, decoder = RecordingStream(Framing.CHUNKED), decoder_of("gzip")
    stream = CompressedStream(inner, next(each for each in CODINGS if each.name == "gzip").encoder())
    inner.answer = Sent.BUSY
    assert stream.try_send(b"kept") is Sent.KEPT
    await stream.finish()
    _, write = inner.writes
    sizes = CHUNK.match(write)
    assert sizes is not None
    end = sizes.end() + int(sizes[1], 16)
    assert decoder.decode(unframed(write[: end + 2], Framing.CHUNKED)) == b"kept"
    assert decoder.decode(unframed(write[end + 2 :], Framing.CHUNKED)) == b""
    assert decoder.ended


async def test_a_peer_that_is_gone_is_told_of(autojump_clock: MockClock) -> None:
    inner = RecordingStream(Framing.IDENTITY)
    inner.answer = Sent.GONE
    assert CompressedStream(inner, CODINGS[0].encoder()).try_send(b"frame") is Sent.GONE


def test_nothing_to_write_is_still_a_write_since_a_head_may_be_waiting() -> None:
    async def write() -> None:
        inner = RecordingStream(Framing.CHUNKED)
        await CompressedStream(inner, CODINGS[0].encoder()).send_all(b"")
        assert inner.writes == [b""]

    trio.run(write)


@by_coding
async def test_nothing_follows_a_write_that_was_cancelled(autojump_clock: MockClock, coding: Coding) -> None:
    inner = RecordingStream(Framing.IDENTITY)
    stream = CompressedStream(inner, coding.encoder())
    await stream.send_all(b"before")
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.send_all(b"lost")
    sent = list(inner.writes)
    assert stream.try_send(b"after") is Sent.BUSY
    for data in (b"after", b""):
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(data)
    with pytest.raises(trio.BrokenResourceError):
        await stream.finish()
    assert inner.writes == sent


async def test_nothing_follows_the_end(autojump_clock: MockClock) -> None:
    stream = CompressedStream(RecordingStream(Framing.IDENTITY), CODINGS[0].encoder())
    await stream.finish()
    assert stream.try_send(b"after") is Sent.BUSY
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"after")


async def test_a_stream_that_failed_has_no_end(autojump_clock: MockClock) -> None:
    inner = RecordingStream(Framing.IDENTITY)

    async def run(stream: ByteStream) -> None:
        await stream.send_all(b"data")
        raise trio.BrokenResourceError

    with pytest.raises(trio.BrokenResourceError):
        await compressed(run, CODINGS[0])(cast("ByteStream", inner))
    decoder = decoder_of(CODINGS[0].name)
    assert decoder.decode(b"".join(inner.writes)) == b"data"
    assert not decoder.ended

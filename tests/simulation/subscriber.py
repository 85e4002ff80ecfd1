"""Clients of event streams: they come, read in their own way, go in their own way, and come back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import h11
import trio

from server.hub import Cursor, Selection
from tests.support.decoding import Decoder, Gzip, Identity
from tests.support.memory_socket import ClientEnd
from tests.support.sse import Event, SSEParser

from .follow import Asked, Follow
from .script import Reader, Visit
from .stage import HANGUP_SECONDS, Life, Line, RefusedError, Stage
from .truth import check
from .wire import HttpClient, PacedEnd

_AGAIN_SECONDS = 0.5
"""Between two attempts to connect."""


class Subscriber:
    """One client, over all its connections."""

    def __init__(self, stage: Stage, visits: Sequence[tuple[int, Visit]], nursery: trio.Nursery) -> None:
        self._stage = stage
        self._visits = visits
        self._nursery = nursery
        self._last_id = ""
        self._reads: Random = stage.script.random(-1)
        self.settled = trio.Event()
        """Set once only its last, endless visit is left."""
        self.follow: Follow | None = None
        """Of the connection that stands."""
        self.refused = False
        """Whether the last answer was that it cannot be served for now."""

    async def run(self) -> None:
        """Make all visits, and then one like the last, prompt and without an end."""
        for number, visit in self._visits:
            await trio.sleep(visit.delay)
            self._reads = self._stage.script.random(number)
            await self._make(visit)
        last = replace(
            self._visits[-1][1],
            how="resume",
            reader=Reader(),
            room=65536,
            cut_after=None,
            leave_after=float("inf"),
        )
        self.settled.set()
        while True:
            await self._make(last)
            await trio.sleep(_AGAIN_SECONDS)

    async def _make(self, visit: Visit) -> None:
        try:
            life, line = self._stage.connect(visit.room)
        except RefusedError:
            await trio.sleep(_AGAIN_SECONDS)
            return
        try:
            with trio.move_on_after(visit.leave_after):
                await self._talk(visit, life, line.end)
        finally:
            self.follow = None
            _leave(line.end, visit.farewell)
            self._nursery.start_soon(_check_served, line)

    async def _talk(self, visit: Visit, life: Life, end: ClientEnd) -> None:
        asked, target, last_event_id = self._question(visit, life)
        # Now, since it notes what is kept: the head of the answer may take a slow reader a while.
        follow = Follow(life.truth, asked)
        draining = life.ending
        client = HttpClient(PacedEnd(end, visit.reader, self._reads, visit.cut_after))
        headers = {"last_event_id": last_event_id} if last_event_id else {}
        headers |= {"accept_encoding": "gzip"} if visit.compress else {}
        try:
            await client.send("GET", target, accept="text/event-stream", **headers)
        except trio.BrokenResourceError:
            return
        answer = await client.next()
        if answer is None:
            return
        check(isinstance(answer, h11.Response) and answer.status_code == 200, "answered", answer)
        assert isinstance(answer, h11.Response)
        coded = (b"content-encoding", b"gzip") in answer.headers
        check(coded == visit.compress or life.ending or life.truth.server.forgets, "coded:", coded)
        talk = _Talk(self, visit, life, follow, Gzip() if coded else Identity(), draining=draining)
        complete = await talk.read(client)
        check(complete or life.ending or not visit.steady, "a steady reader was cut off")
        asked_to_end = life.drained_at is not None and trio.current_time() - life.drained_at < 1
        check(complete or not asked_to_end or not visit.is_prompt, "cut by a drain, without closing")

    def _question(self, visit: Visit, life: Life) -> tuple[Asked, str, str]:
        """What it asks for, in words and on the wire."""
        truth = life.truth
        how, last_id = visit.how, ""
        match how:
            case "resume":
                last_id = self._last_id
            case "nonsense":
                last_id = "nonsense"
            case "beyond":
                last_id = f"{truth.epoch}:{truth.head + 1000}"
            case "earliest":
                last_id = "earliest"
        single = visit.single and len(visit.entries) == 1
        query = [] if single else [f"topic={entry}" for entry in visit.entries]
        query += ["envelope=1"] if visit.envelope else []
        query += ["heartbeat=event"] if visit.shows_heartbeats else []
        query += ["compress=1"] if visit.compress else []
        query += [f"rewind={visit.rewind}"] if how == "rewind" else []
        path = f"/topics/{visit.entries[0]}/events" if single else "/events"
        cursor = Cursor.parse(last_id)
        if not last_id:
            start = "rewind" if how == "rewind" else "live"
        elif last_id == "earliest":
            start = "earliest"
        else:
            ours = cursor is not None and cursor.epoch == truth.epoch and cursor.offset <= truth.head
            start = "after" if ours else "foreign"
        asked = Asked(
            Selection.of(visit.entries),
            start,  # type: ignore[arg-type]
            last_id,
            visit.rewind,
            truth.head,
        )
        return asked, path + ("?" + "&".join(query) if query else ""), last_id


class _Talk:
    """One answer, event by event."""

    def __init__(
        self,
        client: Subscriber,
        visit: Visit,
        life: Life,
        follow: Follow,
        decoder: Decoder,
        *,
        draining: bool,
    ) -> None:
        self._client = client
        self._visit = visit
        self._life = life
        self._follow = follow
        self._draining = draining
        self._decoder = decoder
        self._parser = SSEParser()
        self._has_begun = False
        self.opened = False
        """Whether the stream began, rather than that it was refused."""
        self._closing: str | None = None

    async def read(self, client: HttpClient) -> bool:
        """Read to the end; whether that was a whole answer."""
        while True:
            match await client.next():
                case h11.Data(data=data):
                    for event in self._parser.feed(self._decoder.decode(bytes(data))):
                        self._take(event)
                        # As EventSource does: a block counts once it is whole.
                        if event.id is not None:
                            self._client._last_id = event.id
                case h11.EndOfMessage():
                    check(self._parser.is_between_events and self._decoder.ended, "ended within an event")
                    check(self._closing is not None, "ended without closing")
                    return True
                case _:
                    return False

    def _take(self, event: Event) -> None:
        check(self._closing is None, "something behind closing:", event)
        if event.comment is not None:
            return
        if event.event == "closing":
            self._close(json.loads(event.data or ""))
        elif not self._has_begun:
            self._has_begun = True
            check(event.data is None and event.retry is not None, "no first block:", event)
            if event.id is not None:
                check(not self._draining, "a stream was opened while draining")
                self.opened = True
                self._client.refused = False
                self._follow.first(event.id)
                self._client.follow = self._follow
        else:
            self._take_item(event)

    def _take_item(self, event: Event) -> None:
        assert event.id is not None, event
        assert event.data is not None, event
        follow = self._follow
        if event.event == "gap":
            shown = json.loads(event.data)
            follow.gap(
                event.id, shown["reason"], [(each["topic"], each["missed"]) for each in shown["topics"]]
            )
            check(not (self._visit.steady and follow.gaps), "a steady reader met a gap", shown)
        elif event.event == "heartbeat":
            follow.heartbeat(event.id)
        elif self._visit.envelope:
            envelope = json.loads(event.data)
            data = envelope["data"]
            entry = self._life.truth.entry(Cursor.parse(event.id) or Cursor("", 0))
            text = data if entry.message.text else json.dumps(data, separators=(",", ":"))
            follow.message(event.id, envelope["topic"], text, envelope["seq"])
        else:
            follow.message(event.id, self._visit.entries[0], event.data, None)

    def _close(self, closing: dict[str, object]) -> None:
        reason = str(closing["reason"])
        self._closing = reason
        self._client.refused = not self.opened or reason == "limit"
        draining = reason == "server_draining" and self._life.ending
        full = reason == "limit" and self._life.truth.server.forgets
        check(draining or full, "closing for no reason:", closing)
        check(closing["reconnect"] is True, "not to come back:", closing)


def _leave(end: ClientEnd, farewell: str) -> None:
    if farewell == "fin":
        end.close()
    else:
        end.reset()


async def _check_served(line: Line) -> None:
    with trio.move_on_after(HANGUP_SECONDS):
        await line.served.wait()
    check(line.served.is_set(), "the server still holds a connection that is gone")

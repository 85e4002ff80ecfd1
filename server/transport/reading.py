"""Reading requests: heads when the connection is idle, bodies when the app asks for them.

Nothing is read ahead.  So a body has backpressure without a buffer, `100 Continue` is said exactly when the
body is wanted, and bytes pipelined behind a request stay where they are until it has been answered.
"""

from __future__ import annotations

from dataclasses import dataclass

import h11
import trio

from ..wire.problem import Problem
from .drain import IdleConnections
from .head import MAX_HEAD, RefusedError, refused_by_h11
from .hypercorn import AsgiMessage
from .linger import LINGER_SECONDS
from .writes import OrderedStream

BODY_CHUNK = 64 * 1024
CHUNKS_A_TURN = 64
"""Pieces of a body that are taken from the buffer before others get their turn.

A buffer full of chunks of a byte is a tenth of a second of parsing.
"""
DISCARD_AFTER_ANSWER = 64 * 1024
"""Bytes of a body nobody read that are discarded to keep the connection; a longer one closes it."""


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Times in seconds."""

    keep_alive: float = 60.0
    """How long an idle connection is kept."""
    head_seconds: float = 30.0
    """Within which a head that has begun must be whole."""
    body_pause: float = 30.0
    """How long a body that the app waits for may pause."""


class BodyReadError(Exception):
    """Raised from ASGI `receive`: the rest of the body will not come, for the reason in `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class RequestReader:
    """The reading half of one connection.  `h11` is shared with whoever writes the answers."""

    def __init__(self, stream: OrderedStream, idle: IdleConnections, options: HttpOptions) -> None:
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self.started_at = 0.0
        """Trio's clock at the first byte of the request."""
        self._stream = stream
        self._idle = idle
        self._options = options
        self._continue_due = False
        self._eof = False
        self._body_refused = False

    async def next_request(self) -> h11.Request | None:
        """The next head, or None where the client ends or leaves the connection idle."""
        self.started_at = trio.current_time()
        started = self.h11.trailing_data[0] != b""
        deadline = trio.current_time() + (self._options.head_seconds if started else self._options.keep_alive)
        while True:
            try:
                event = self.h11.next_event()
            except h11.RemoteProtocolError as error:
                raise refused_by_h11(error) from None
            if isinstance(event, h11.Request):
                self.started_at = trio.current_time()
                self._continue_due = self.h11.they_are_waiting_for_100_continue
                return event
            if event is not h11.NEED_DATA:
                return None
            if not started:
                data = await self._read_first_bytes(deadline)
                if not data:
                    return None
                # RFC 9112, section 2.2: an empty line before a request is to be ignored.
                data = data.lstrip(b"\r\n")
                if not data:
                    continue
                started = True
                self.started_at = trio.current_time()
                deadline = trio.current_time() + self._options.head_seconds
            else:
                with trio.move_on_at(deadline) as scope:
                    data = await self._receive_some()
                if scope.cancelled_caught:
                    raise RefusedError(Problem("head_slow", "The head was not whole in time."))
            self.h11.receive_data(data)

    async def _read_first_bytes(self, deadline: float) -> bytes:
        """What an idle connection says next; b"" where it ends, is idle for too long, or is not wanted any
        more.
        """
        with self._idle.scope(deadline):
            return await self._receive_some()
        return b""

    async def receive(self) -> AsgiMessage:
        """ASGI `receive`: the next piece of the body, read only now; after its end, the client's EOF."""
        if self.h11.their_state not in (h11.SEND_BODY, h11.ERROR):
            return await self._wait_for_eof()
        waited = False
        while True:
            try:
                body, ended = self._take_buffered()
            except h11.RemoteProtocolError:
                self._body_refused = True
                raise BodyReadError(self._body_problem()) from None
            if body or ended:
                if not ended and not waited:
                    # Reading gives others their turn.  Shielded, since what was taken would be lost with a
                    # cancellation.
                    await trio.lowlevel.cancel_shielded_checkpoint()
                return {"type": "http.request", "body": body, "more_body": not ended}
            await self._read_more_body()
            waited = True

    def _take_buffered(self) -> tuple[bytes, bool]:
        """The next of the body, b"" where nothing of it is in the buffer, and whether it ends there."""
        pieces: list[bytes] = []
        for _ in range(CHUNKS_A_TURN):
            event = self.h11.next_event()
            if isinstance(event, h11.Data):
                pieces.append(event.data)
            else:
                return b"".join(pieces), isinstance(event, h11.EndOfMessage)
        return b"".join(pieces), False

    def _body_problem(self) -> Problem:
        if self._eof:
            return Problem("body_incomplete", "The connection ended within the body.")
        return Problem("request_malformed", "The body is not framed as its head says.")

    async def _wait_for_eof(self) -> AsgiMessage:
        """Wait until the client ends the connection.

        Behind too many pipelined bytes it cannot be seen: wait for ever.
        """
        while len(self.h11.trailing_data[0]) < BODY_CHUNK:
            data = await self._receive_some()
            self.h11.receive_data(data)
            if not data:
                return {"type": "http.disconnect"}
        await trio.sleep_forever()
        raise AssertionError

    async def _receive_some(self) -> bytes:
        try:
            return bytes(await self._stream.stream.receive_some(BODY_CHUNK))
        except trio.BrokenResourceError:
            self._stream.mark_broken()
            raise

    async def _read_more_body(self) -> None:
        self._continue_due = False
        if self.h11.they_are_waiting_for_100_continue:
            # Said only here, when the body is wanted: a refusal that needs no body comes in its place.
            await self._stream.send_all(
                self.h11.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
            )
        try:
            with trio.move_on_after(self._options.body_pause) as scope:
                data = await self._receive_some()
        except trio.BrokenResourceError:
            # Nobody is left to be answered; to whoever reads the body it ended, and did not fail.
            self._eof = self._body_refused = True
            raise BodyReadError(self._body_problem()) from None
        if scope.cancelled_caught:
            self._body_refused = True
            raise BodyReadError(
                Problem("body_slow", f"The body paused for {self._options.body_pause:g} seconds.")
            )
        self._eof = not data
        self.h11.receive_data(data)

    async def discard_body(self) -> bool:
        """Read off what the app left of the body.  False where the connection cannot go on.

        A longer body, or one that takes longer than a moment, is not worth the connection.
        """
        # Where nobody asked for the body, the client may hold it back for ever.
        if self._body_refused or self._continue_due:
            return self._is_done()
        discarded = 0
        try:
            with trio.move_on_after(LINGER_SECONDS):
                while self.h11.their_state is h11.SEND_BODY and discarded <= DISCARD_AFTER_ANSWER:
                    discarded += len((await self.receive())["body"])
        except BodyReadError:
            return False
        return self._is_done()

    def _is_done(self) -> bool:
        return self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE

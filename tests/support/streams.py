"""Streams and sockets that behave badly, in memory.

`StalledStream` is a client that stops reading, `LossyStream` a network that goes away without a word, and
`TrickleSocket` a non-blocking socket whose kernel takes as much as a script says.  All are for tests in
virtual time: nothing here waits for anything but the test.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import trio


class StalledStream(trio.abc.HalfCloseableStream):
    """A peer that reads `room` bytes and then no more, and says nothing until told to end its side.

    `sent` holds what was taken; `stalled` is set once a `send_all` is stuck.
    """

    def __init__(self, room: int = 0) -> None:
        self.sent = bytearray()
        self.sent_eof = False
        self.stalled = trio.Event()
        self._room = room
        self._read_ended = trio.Event()
        self._closed = trio.Event()

    def tell_eof(self) -> None:
        """End the peer's side: `receive_some` returns no bytes from now on."""
        self._read_ended.set()

    @property
    def closed(self) -> bool:
        """Whether `aclose` was called."""
        return self._closed.is_set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Take what there is room for; with more than that, wait until cancelled or closed."""
        await self._checkpoint()
        taken = memoryview(data)[: self._room]
        self._room -= len(taken)
        self.sent += taken
        if len(taken) < len(data):
            self.stalled.set()
            await self._closed.wait()
            raise trio.ClosedResourceError

    async def wait_send_all_might_not_block(self) -> None:
        """Return while there is room, else wait until cancelled or closed."""
        await self._checkpoint()
        if self._room == 0:
            await self._closed.wait()
            raise trio.ClosedResourceError

    async def send_eof(self) -> None:
        """Remember it in `sent_eof`."""
        await self._checkpoint()
        self.sent_eof = True

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for `tell_eof`, then return no bytes."""
        await self._checkpoint()
        await self._read_ended.wait()
        if self.closed:
            raise trio.ClosedResourceError
        return b""

    async def aclose(self) -> None:
        """Wake up all who wait, with ClosedResourceError."""
        self._closed.set()
        self._read_ended.set()
        await trio.lowlevel.checkpoint()

    async def _checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise trio.ClosedResourceError


class LossyStream(trio.abc.HalfCloseableStream):
    """`inner`, until `cut`: from then on what is written vanishes, and nothing arrives, not even an EOF.

    So it looks to one side when the other one lost its network.  `swallowed` counts the bytes that vanished.
    """

    def __init__(self, inner: trio.abc.HalfCloseableStream) -> None:
        self.swallowed = 0
        self._inner = inner
        self._was_cut = False
        self._reading = trio.CancelScope()
        self._closed = trio.Event()

    def cut(self) -> None:
        """Lose the network, also for a `receive_some` that waits."""
        self._was_cut = True
        self._reading.cancel()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write to `inner`; once cut, to nowhere."""
        if not self._was_cut:
            await self._inner.send_all(data)
            return
        await self._checkpoint()
        self.swallowed += len(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As `inner` does; once cut, return."""
        if not self._was_cut:
            await self._inner.wait_send_all_might_not_block()
            return
        await self._checkpoint()

    async def send_eof(self) -> None:
        """Pass it on; once cut, to nobody."""
        if not self._was_cut:
            await self._inner.send_eof()
            return
        await self._checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Read from `inner`; once cut, wait until cancelled or closed."""
        with trio.CancelScope() as self._reading:
            if self._was_cut:
                self._reading.cancel()
            return await self._inner.receive_some(max_bytes)
        await self._checkpoint()
        await self._closed.wait()
        raise trio.ClosedResourceError

    async def aclose(self) -> None:
        """Close `inner`, whose peer learns of it even after a cut: its end, too, is the test's to close."""
        self._closed.set()
        await self._inner.aclose()

    async def _checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed.is_set():
            raise trio.ClosedResourceError


class TrickleSocket:
    """The `send` of a non-blocking socket, following a script.

    Each call uses up one step of `script`: a positive number of bytes to take at most, 0 to refuse with
    BlockingIOError until `make_writable`, or an OSError, which is raised from then on always.  At the end of
    the script all is taken.  `taken` holds what was taken, in order; `calls` what each call was offered.
    """

    def __init__(self, script: Iterable[int | OSError] = ()) -> None:
        self.taken = bytearray()
        self.calls: list[bytes] = []
        self._script = iter(script)
        self._failure: OSError | None = None
        self._writable = trio.Event()
        self._writable.set()

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0) -> int:
        """As `socket.socket.send` does.

        Raises:
            BlockingIOError: nothing is taken for now.
            OSError: the one that the script has.
        """
        self.calls.append(bytes(data))
        if self._failure is not None:
            raise self._failure
        if not self._writable.is_set():
            raise BlockingIOError
        step = next(self._script, len(data))
        if isinstance(step, OSError):
            self.fail(step)
            raise step
        if step == 0:
            self.block()
            raise BlockingIOError
        taken = bytes(data[:step])
        self.taken += taken
        return len(taken)

    def block(self) -> None:
        """Refuse all until `make_writable`."""
        self._writable = trio.Event()

    def make_writable(self) -> None:
        """Go on with the script, and wake up who waits in `wait_writable`."""
        self._writable.set()

    def fail(self, error: OSError) -> None:
        """Raise `error` from now on; as with a real socket, that wakes up who waits in `wait_writable`."""
        self._failure = error
        self._writable.set()

    async def wait_writable(self) -> None:
        """What `trio.lowlevel.wait_writable` is for a real socket."""
        await trio.lowlevel.checkpoint()
        await self._writable.wait()


def random_script(seed: int, longest: int, steps: int = 1000) -> Iterator[int]:
    """A script for `TrickleSocket`: takes of up to `longest` bytes, every fourth or so refused."""
    source = random.Random(seed)
    for _ in range(steps):
        yield 0 if source.random() < 0.25 else source.randint(1, longest)

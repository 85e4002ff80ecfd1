"""What a writer can pipe: async iterables, receive channels, files.  Always closed at the end.

An async generator that is left before its end keeps what it holds (a cursor, a connection, a file) until the
garbage collector comes by, and is then finished in a task that nobody expects.  So each source is consumed
within `open_items`, which closes it in the same task, whatever happened: the end, an error in the middle, a
cancellation.
"""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, cast

import trio

BLOCK = 64 * 1024
"""How much of a file is read at once: bytes, or characters of a text file."""


@asynccontextmanager
async def open_items(source: object) -> AsyncGenerator[AsyncIterator[Any], None]:
    """The items of `source`, which is closed when the block is left: what an async iterable or a receive
    channel yields, or the blocks of a file.

    A file may be one of Python's, which is then read in a thread, or one of Trio's.

    Raises:
        TypeError: `source` is none of these.
    """
    if inner := _file_of(source):
        # Closing is what is left to be done where the wrapped one was closed before.
        async with aclosing(inner), aclosing(_blocks(inner.read)) as blocks:
            yield blocks
        return
    if not hasattr(type(source), "__aiter__"):
        raise TypeError(
            "pipe takes an async iterable (what an async generator function returns), a receive channel or a "
            f"file, not {type(source).__name__}"
        )
    iterator = cast("Any", source).__aiter__()
    async with AsyncExitStack() as stack:
        for each in (source, iterator) if iterator is not source else (source,):
            # Iterators need have no `aclose`; where the iterable has one, it owns what the iterator reads.
            if hasattr(each, "aclose"):
                await stack.enter_async_context(aclosing(each))
        yield iterator


def _file_of(source: object) -> Any:
    """`source` as a file of Trio's, None where it is no file."""
    if isinstance(source, io.IOBase):
        return trio.wrap_file(cast("io.BufferedIOBase", source))
    # Trio's own wrapper, whose class has no public name; iterated it would yield lines.
    return source if isinstance(getattr(source, "wrapped", None), io.IOBase) else None


async def _blocks(read: Callable[[int], Awaitable[str | bytes]]) -> AsyncGenerator[str | bytes, None]:
    while block := await read(BLOCK):
        yield block

"""What is asked of the Yjs library (pycrdt, which is Yjs in Rust).

Updates are merged as they are; no document is ever built from them.  A document built by pycrdt 0.14 differs
from the editors' own once an edit has cut an emoji in half: it splits texts between characters, Yjs between
UTF-16 units (tests/rooms/test_document_updates.py).  Merging splits nothing.  The price: what has been
deleted stays in the bytes.

pycrdt holds the interpreter's lock while it works, so a thread would gain nothing: the time is bounded by the
size of documents.  Merging many updates at once takes time that grows with the square of their number; they
are merged a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...wire.y_nesting import check_depth, may_be_deep
from ...wire.y_protocol import MessageError

EMPTY = b"\0\0"
"""The update that changes nothing."""
EMPTY_STATE = b"\0"
"""The state vector of who has nothing."""
_AT_ONCE = 8


class MissingLibraryError(Exception):
    """pycrdt is not installed."""


class UpdateError(ValueError):
    """The bytes are no update, or no state vector."""


class Updates:
    """The library.  Its methods hold on to nothing.

    Raises:
        MissingLibraryError: there is none.
    """

    def __init__(self) -> None:
        try:
            # Part of an extra, and 0.1 s to import.
            import pycrdt  # noqa: PLC0415
        except ImportError as error:
            raise MissingLibraryError("documents need the extra `documents`, which brings pycrdt") from error
        self._get_state: Callable[[bytes], bytes] = pycrdt.get_state
        self._get_update: Callable[[bytes, bytes], bytes] = pycrdt.get_update
        self._merge: Callable[..., bytes] = pycrdt.merge_updates

    def is_slow_to_check(self, update: bytes) -> bool:
        """Whether `check_depth` has to come before `check`."""
        return may_be_deep(update)

    def check_depth(self, update: bytes) -> None:
        """Make sure that no value in `update` is too deep for the library; in a thread, it may take a second.

        Raises:
            UpdateError: one is.
        """
        try:
            check_depth(update)
        except MessageError as error:
            raise UpdateError(str(error)) from None

    def check(self, update: bytes) -> None:
        """Make sure that `update` can be merged, and what it is merged into still be read.

        Raises:
            UpdateError: it cannot.
        """
        self.state(update)
        # What can be read and is odd, flags that contradict each other, may be written as what cannot.
        self.state(self.merge([update, EMPTY]))

    def state(self, update: bytes) -> bytes:
        """The state vector of who has just `update`."""
        return _asked(self._get_state, update)

    def missing(self, update: bytes, state: bytes) -> bytes:
        """What of `update` is missing where `state` is had.  Its deletions are in it always.

        Raises:
            UpdateError: `state` is no state vector.
        """
        return _asked(self._get_update, update, state)

    def merge(self, updates: Sequence[bytes]) -> bytes:
        """All of `updates` in one, at least one; the same for the same set in any order."""
        merged = list(updates)
        while len(merged) > 1:
            merged = [
                _asked(self._merge, *merged[start : start + _AT_ONCE])
                for start in range(0, len(merged), _AT_ONCE)
            ]
        return merged[0]


def _asked(function: Callable[..., bytes], *arguments: bytes) -> bytes:
    try:
        return function(*arguments)
    except ValueError as error:
        raise UpdateError("The bytes are no Yjs update of version 1") from error
    except BaseException as error:
        # A panic of the Rust side is no Exception; it names a fault in the input that was not foreseen.
        if type(error).__name__ == "PanicException":
            raise UpdateError("The bytes are no Yjs update that can be read") from error  # noqa: ASYNC104
        raise

"""How deep the values in a Yjs update are nested.

The library that merges updates reads nested values by recursion and has no limit of its own: an update of a
few hundred kilobytes, an array in an array in an array, would overflow its stack and end the process.  So an
update is looked at first.  That is cheap for nearly all: each level takes a byte that says "array" or
"object", so that what has few such bytes cannot be deep.  The rest is parsed, in steps that take no stack.

The format is Yjs's update, version 1, and lib0's `any`.  What this does not know it refuses: only updates
that are looked at closely can meet that, and what Yjs 13 writes is known.  The same goes for what the library
would read in another way than it is written: whoever makes the two read different things hides a value from
this.  It reads most numbers into 32 bits, and lets those that are larger wrap around, so they are refused.
"""

from __future__ import annotations

from .y_protocol import MessageError, read_number

MAX_DEPTH = 64
"""Levels that values may be nested, as for JSON."""
FEW = 4000
"""Bytes that may stand for a level each, before an update is looked at closely.

Merging has been seen to bear 10,000 levels with a stack of 8 MiB.
"""

_HAS_ORIGIN, _HAS_RIGHT_ORIGIN, _HAS_PARENT_SUB, _UNUSED = 0x80, 0x40, 0x20, 0x10
_GC, _DELETED, _JSON, _BINARY, _STRING, _EMBED, _FORMAT, _TYPE, _ANY, _DOC, _SKIP = range(11)
_XML_ELEMENT, _XML_HOOK, _LAST_TYPE = 3, 5, 6
_ARRAY, _OBJECT = 117, 118
_SIZES = {127: 0, 126: 0, 124: 4, 123: 8, 122: 8, 121: 0, 120: 0}
_NUMBER, _TEXT, _BUFFER = 125, 119, 116
_SMALL_BYTES, _MAX_SMALL = 5, (1 << 32) - 1


def may_be_deep(update: bytes) -> bool:
    """Whether `check_depth` has to be asked; it may take a second for a large update."""
    return update.count(_ARRAY) + update.count(_OBJECT) > FEW


def check_depth(update: bytes) -> int:
    """Make sure that no value in `update` is nested more than `MAX_DEPTH` levels.

    Returns where its structs end, and its deletions, which hold no values, begin.

    Raises:
        MessageError: one is, or the update is not of the format.
    """
    walk = _Walk(update)
    for _ in range(walk.small()):
        structs = walk.small()
        walk.id()
        for _ in range(structs):
            _skip_struct(walk)
    return walk.at


def _skip_struct(walk: _Walk) -> None:
    info = walk.byte()
    if info in (_GC, _SKIP):
        walk.small()
        return
    if info & _UNUSED:
        raise MessageError("An update has a struct of no known kind")
    if info & _HAS_ORIGIN:
        walk.id()
    if info & _HAS_RIGHT_ORIGIN:
        walk.id()
    if not info & (_HAS_ORIGIN | _HAS_RIGHT_ORIGIN):
        if walk.small() == 1:
            walk.sized()
        else:
            walk.id()
        if info & _HAS_PARENT_SUB:
            walk.sized()
    _skip_content(walk, info & 0x0F)


def _skip_content(walk: _Walk, kind: int) -> None:
    match kind:
        case _ if kind in (_BINARY, _STRING, _EMBED):
            walk.sized()
        case _ if kind == _DELETED:
            walk.small()
        case _ if kind == _JSON:
            for _ in range(walk.small()):
                walk.sized()
        case _ if kind == _FORMAT:
            walk.sized()
            walk.sized()
        case _ if kind == _TYPE:
            type_ref = walk.byte()
            if type_ref in (_XML_ELEMENT, _XML_HOOK):
                walk.sized()
            elif type_ref > _LAST_TYPE:
                raise MessageError("An update has a type that is not known")
        case _ if kind == _ANY:
            _skip_values(walk, walk.small())
        case _ if kind == _DOC:
            walk.sized()
            _skip_values(walk, 1)
        case _:
            raise MessageError("An update has content of no known kind")


def _skip_values(walk: _Walk, count: int) -> None:
    # How many values are left at each level, and whether each has a name before it.
    levels = [(count, False)]
    while levels:
        left, named = levels[-1]
        if not left:
            levels.pop()
            continue
        levels[-1] = (left - 1, named)
        if named:
            walk.sized()
        kind = walk.byte()
        if kind in _SIZES:
            walk.skip(_SIZES[kind])
        elif kind in (_TEXT, _BUFFER):
            walk.sized()
        elif kind == _NUMBER:
            walk.signed()
        elif kind in (_ARRAY, _OBJECT):
            levels.append((walk.number(), kind == _OBJECT))
            if len(levels) > MAX_DEPTH + 1:
                raise MessageError(f"A value is nested more than {MAX_DEPTH} deep")
        else:
            raise MessageError("An update has a value of no known kind")


class _Walk:
    """A position in an update that goes forward only, and never past the end."""

    __slots__ = ("_data", "at")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def byte(self) -> int:
        if self.at >= len(self._data):
            raise MessageError("An update ends early")
        self.at += 1
        return self._data[self.at - 1]

    def number(self) -> int:
        value, self.at = read_number(self._data, self.at)
        return value

    def small(self) -> int:
        """A number that the library reads into 32 bits."""
        began = self.at
        value = self.number()
        if value > _MAX_SMALL or self.at - began > _SMALL_BYTES:
            raise MessageError("A number is larger than it is read")
        return value

    def id(self) -> None:
        """A client and a clock."""
        self.number()
        self.small()

    def signed(self) -> None:
        while self.byte() >= 0x80:
            pass

    def sized(self) -> None:
        self.skip(self.small())

    def skip(self, length: int) -> None:
        self.at += length
        if self.at > len(self._data):
            raise MessageError("An update ends early")

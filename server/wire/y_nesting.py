"""How deep the values in a Yjs update are nested.

The library that merges updates reads nested values by recursion and has no limit of its own: an update of a
few hundred kilobytes, an array in an array in an array, would overflow its stack and end the process.  So an
update is looked at first.  That is cheap for nearly all: each level takes a byte that says "array" or
"object", so that what has few such bytes cannot be deep.  The rest is parsed, in steps that take no stack.

The format is Yjs's update, version 1, and lib0's `any`.  What this does not know it refuses: only updates
that are looked at closely can meet that, and what Yjs 13 writes is known.
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
    for _ in range(walk.number()):
        structs = walk.number()
        walk.numbers(2)  # client, clock
        for _ in range(structs):
            _skip_struct(walk)
    return walk.at


def _skip_struct(walk: _Walk) -> None:
    info = walk.byte()
    if info in (_GC, _SKIP):
        walk.numbers(1)
        return
    if info & _UNUSED:
        raise MessageError("An update has a struct of no known kind")
    if info & _HAS_ORIGIN:
        walk.numbers(2)
    if info & _HAS_RIGHT_ORIGIN:
        walk.numbers(2)
    if not info & (_HAS_ORIGIN | _HAS_RIGHT_ORIGIN):
        if walk.number() == 1:
            walk.sized()
        else:
            walk.numbers(2)
        if info & _HAS_PARENT_SUB:
            walk.sized()
    _skip_content(walk, info & 0x0F)


def _skip_content(walk: _Walk, kind: int) -> None:
    match kind:
        case _ if kind in (_BINARY, _STRING, _EMBED):
            walk.sized()
        case _ if kind == _DELETED:
            walk.numbers(1)
        case _ if kind == _JSON:
            for _ in range(walk.number()):
                walk.sized()
        case _ if kind == _FORMAT:
            walk.sized()
            walk.sized()
        case _ if kind == _TYPE:
            type_ref = walk.number()
            if type_ref in (_XML_ELEMENT, _XML_HOOK):
                walk.sized()
            elif type_ref > _LAST_TYPE:
                raise MessageError("An update has a type that is not known")
        case _ if kind == _ANY:
            _skip_values(walk, walk.number())
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

    def numbers(self, count: int) -> None:
        for _ in range(count):
            self.number()

    def signed(self) -> None:
        while self.byte() >= 0x80:
            pass

    def sized(self) -> None:
        self.skip(self.number())

    def skip(self, length: int) -> None:
        self.at += length
        if self.at > len(self._data):
            raise MessageError("An update ends early")

"""How deep an update may be, and that looking at it takes no stack."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pycrdt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.y_nesting import FEW, MAX_DEPTH, check_depth, may_be_deep
from server.wire.y_protocol import MessageError, number

VALUE_AT_T = b"\x01\x01\x07\x00\x08\x01\x01t\x01"
"""An update that sets one value: client 7, clock 0, at the root `t`."""


def deep(levels: int, opening: bytes) -> bytes:
    """An update with a value of so many levels."""
    return VALUE_AT_T + opening * levels + b"\x7e\x00"


ARRAY, OBJECT = b"\x75\x01", b"\x76\x01\x01a"


@pytest.mark.parametrize("opening", [ARRAY, OBJECT], ids=["arrays", "objects"])
def test_as_deep_as_json_may_be_is_let_through_and_no_deeper(opening: bytes) -> None:
    check_depth(deep(MAX_DEPTH, opening))
    with pytest.raises(MessageError, match="64 deep"):
        check_depth(deep(MAX_DEPTH + 1, opening))


def test_a_million_levels_are_refused_at_once() -> None:
    update = deep(1_000_000, ARRAY)
    assert may_be_deep(update)
    with pytest.raises(MessageError, match="64 deep"):
        check_depth(update)


def test_what_is_not_looked_at_can_be_merged_and_what_is_would_end_the_process() -> None:
    assert not may_be_deep(deep(FEW - 1, ARRAY))
    assert may_be_deep(deep(FEW + 1, ARRAY))
    assert merging_exits_with(deep(FEW - 1, ARRAY)) == 0
    # Where this begins to fail, the library has learned to refuse, and this module can go.
    assert merging_exits_with(deep(400_000, ARRAY)) < 0


def merging_exits_with(update: bytes) -> int:
    """The exit code of a process that merges `update`."""
    program = (
        "import pycrdt, sys, threading\n"
        "update = sys.stdin.buffer.read()\n"
        "thread = threading.Thread(target=pycrdt.merge_updates, args=(update, b'\\0\\0'))\n"
        "thread.start(); thread.join(); pycrdt.merge_updates(update, b'\\0\\0')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=update, timeout=60, check=False)
    return done.returncode


def hidden(parent: int) -> bytes:
    """An update with half a million levels in what is a text to who takes `parent` for the id of an item.
    Who reads it into 32 bits, as 1, takes a name to follow, and a value after it.
    """
    length = b"\xc3\xbf\x3f"  # 1,040,323, which is also UTF-8, as names have to be
    name = b"\x00\x01\x77" + length
    levels = b"\x01" + b"\x75\x01" * 520_161
    return b"\x01\x01\x07\x00\x08" + number(parent) + number(len(name)) + name + levels + b"\x7e\x00"


@pytest.mark.parametrize("parent", [2**32 + 1, 2**35 + 1], ids=["in five bytes", "in six"])
def test_a_value_that_the_library_alone_would_see_is_refused(parent: int) -> None:
    with pytest.raises(MessageError, match="larger than it is read"):
        check_depth(hidden(parent))


def test_the_library_does_see_it() -> None:
    # Where this begins to fail, the library reads numbers as they are written.
    assert merging_exits_with(hidden(2**32 + 1)) < 0


def everything() -> pycrdt.Doc[Any]:
    """A document with each kind of content."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=99)
    doc["map"] = shapes = pycrdt.Map[Any]({"int": 5, "float": 1.5, "none": None, "bytes": b"\x75" * 9})
    shapes["nested"] = [1, [2, {"three": [True, False, "vvvuuu", 2**40]}]]
    shapes["text"] = text = pycrdt.Text("uuvv")
    text.format(1, 3, {"bold": True})
    text.insert_embed(2, {"image": "x"})
    del shapes["int"]
    doc["xml"] = pycrdt.XmlFragment([pycrdt.XmlElement("p", {"a": "b"}, [pycrdt.XmlText("hi")])])
    doc["list"] = pycrdt.Array[Any]([1, "two", pycrdt.Map({"x": pycrdt.Array([1])})])
    doc["sub"] = pycrdt.Map({"doc": pycrdt.Doc()})
    return doc


def test_each_kind_of_content_is_known() -> None:
    update = everything().get_update()
    end = check_depth(update)
    # One deletion, of one client: client 99, one range.
    assert update[end : end + 3] == b"\x01\x63\x01"


@given(st.binary(max_size=80))
def test_nonsense_is_an_update_or_refused(data: bytes) -> None:
    try:
        check_depth(data)
    except MessageError:
        pass


def test_what_the_library_reads_is_read_here_or_refused() -> None:
    """Whatever is let through must be what was looked at: for both the structs end at the same byte."""
    seed, chance = everything().get_update(), random.Random(7)
    both = 0
    for _ in range(20_000):
        data = bytearray(seed)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data))
            data[at : at + 1] = chance.choice(
                (*map(number, (0, 1, 2, 117, 118, 127, data[at] + 2**32)), b"\x80", b"\xff")
            )
        try:
            end = check_depth(bytes(data))
            pycrdt.get_state(bytes(data))
        except (MessageError, ValueError):
            continue
        both += 1
        # With no deletions, and with a byte less, or one too many, of what comes before them.
        pycrdt.get_state(bytes(data[:end]) + b"\0")
        with pytest.raises(ValueError, match="Cannot"):
            pycrdt.get_state(bytes(data[:end]))
    assert both > 1000

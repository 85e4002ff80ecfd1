"""A message is reckoned at what it holds, whatever its text is made of."""

from __future__ import annotations

import tracemalloc

import pytest

from server.hub import Cursor, Draft, Message
from server.streams.forms import event_chunk

KIB_OF_TEXT = 256


@pytest.mark.parametrize("text", ["x", "\n", "\r", "é", "€", "😀", "\r\n"], ids=ascii)
@pytest.mark.parametrize("first", ["", "😀"], ids=ascii)
def test_a_message_holds_no_more_than_it_is_reckoned_at(first: str, text: str) -> None:
    tracemalloc.start()
    try:
        draft = Draft("t", first + text * (KIB_OF_TEXT * 1024 // len(text.encode())), text=True)
        message = Message(draft, Cursor("e", 1), 1, 0.0, 0.0)
        message.frame(event_chunk)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held <= message.size + 1024
    assert message.size <= 1.5 * held

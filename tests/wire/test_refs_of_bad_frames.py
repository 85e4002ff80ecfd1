"""A frame that cannot be used is answered under its own ref, so that its sender does not wait for ever."""

from __future__ import annotations

import pytest

from server.wire.room_codecs import FrameError
from server.wire.room_codecs import decode_json as decode

DEEP = "[" * 100 + "]" * 100


@pytest.mark.parametrize(
    ("text", "code", "ref"),
    [
        ('{"type":"message","ref":"r1"}', "frame_invalid", "r1"),
        ('{"type":"message","ref":"r1","data":1,"to":"all"}', "frame_invalid", "r1"),
        ('{"type":"shout","ref":"r1"}', "frame_invalid", "r1"),
        ('{"type":"message","ref":"r1","data":' + DEEP + "}", "frame_malformed", "r1"),
        ('{"type":"message","ref":"","data":1}', "frame_invalid", None),
        ('{"type":"message","ref":7,"data":1}', "frame_invalid", None),
        ('{"type":"message","ref":"r1"', "frame_malformed", None),
        ("[" * 100_000, "frame_malformed", None),
        ("[]", "frame_invalid", None),
    ],
)
def test_an_error_names_the_ref_where_it_can_be_read(text: str, code: str, ref: str | None) -> None:
    with pytest.raises(FrameError) as raised:
        decode(text)
    assert (raised.value.code, raised.value.ref) == (code, ref)

"""The codecs of rooms: frames as JSON text and as MessagePack, one subprotocol each.

Both carry the same objects.  JSON is the model: what MessagePack has beyond it is refused on the way in, and
a MessagePack frame is the JSON frame's object written anew, so that members of either kind hear the same.
Only a number that MessagePack has no room for is rounded to the nearest double, as browsers do with JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Literal, NamedTuple, NoReturn

import msgspec

from . import json_text
from .room_frames import (
    MAX_STATE,
    ClientFrame,
    ClientMessage,
    ClientPresence,
    ClientSignal,
    Ref,
    ServerFrame,
)

FrameFault = Literal["frame_malformed", "frame_invalid"]


class FrameError(ValueError):
    """A client's frame is not one.  `code` is stable; the text is fit to be shown; `ref` is the frame's,
    where it can be read.
    """

    def __init__(self, code: FrameFault, detail: str, ref: str | None) -> None:
        super().__init__(detail)
        self.code = code
        self.ref = ref


class Codec(NamedTuple):
    """A subprotocol: its name, whether its frames are text, and what turns them into bytes and back.

    `decode` is given a whole message, text or bytes as `is_text` says, and raises `FrameError`.
    """

    subprotocol: str
    is_text: bool
    encode: Callable[[ServerFrame], bytes]
    decode: Callable[[str | bytes], ClientFrame]


class _Referring(msgspec.Struct):
    ref: Ref | None = None


_JSON_DECODER: json_text.Decoder[ClientFrame] = json_text.Decoder(ClientFrame)  # type: ignore[arg-type]
_MSGPACK_DECODER: msgspec.msgpack.Decoder[ClientFrame] = msgspec.msgpack.Decoder(ClientFrame)


def encode_json(frame: ServerFrame) -> bytes:
    """`frame` as one JSON object, in UTF-8."""
    return json_text.encode(frame).encode()


def decode_json(text: str | bytes) -> ClientFrame:
    """The frame that a client sent as text.

    Raises:
        FrameError: it is not JSON, or no frame that is known.
    """
    encoded = text.encode() if isinstance(text, str) else text
    try:
        return _checked(_JSON_DECODER.decode(encoded))
    except json_text.MalformedError as error:
        raise FrameError("frame_malformed", f"{error}.", _ref_in_json(encoded)) from None
    except json_text.InvalidError as error:
        raise _invalid(error, _ref_in_json(encoded)) from None


def encode_msgpack(frame: ServerFrame) -> bytes:
    """`frame` as one MessagePack map."""
    text = msgspec.json.encode(frame)
    try:
        return msgspec.msgpack.encode(msgspec.json.decode(text))
    except (msgspec.DecodeError, OverflowError):
        return msgspec.msgpack.encode(json.loads(text, parse_int=_number))


def decode_msgpack(data: str | bytes) -> ClientFrame:
    """The frame that a client sent as bytes.

    Raises:
        FrameError: it is not MessagePack, holds what JSON cannot, or is no frame that is known.
    """
    encoded = data.encode() if isinstance(data, str) else data
    try:
        return _checked(_in_json(_MSGPACK_DECODER.decode(encoded)))
    except msgspec.ValidationError as error:
        invalid = json_text.InvalidError(*json_text.explain(str(error)))
        raise _invalid(invalid, _ref_in_msgpack(encoded)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FrameError("frame_malformed", "The bytes are not MessagePack.", None) from None
    except json_text.MalformedError as error:
        raise FrameError("frame_malformed", f"{error}.", _ref_in_msgpack(encoded)) from None
    except json_text.InvalidError as error:
        raise _invalid(error, _ref_in_msgpack(encoded)) from None


JSON = Codec("sluiceway.v1.json", True, encode_json, decode_json)
MSGPACK = Codec("sluiceway.v1.msgpack", False, encode_msgpack, decode_msgpack)
CODECS = (JSON, MSGPACK)
"""Every codec, the default first."""


def _checked(frame: ClientFrame) -> ClientFrame:
    """`frame`, once what no type can say has been looked at."""
    if isinstance(frame, ClientPresence):
        state = json_text.compact(frame.state).encode()
        if not state.startswith(b"{"):
            _refuse("has to be of type object", "/state")
        if len(state) > MAX_STATE:
            _refuse(f"has to be of at most {MAX_STATE} bytes as compact JSON", "/state")
        return ClientPresence(msgspec.Raw(state))
    return frame


def _invalid(error: json_text.InvalidError, ref: str | None) -> FrameError:
    where = f" at {error.pointer}" if error.pointer else ""
    return FrameError("frame_invalid", f"Not a frame: {error}{where}.", ref)


def _ref_in_json(text: bytes) -> str | None:
    """What a frame that cannot be used calls itself: its sender waits for an answer under that name."""
    try:
        return msgspec.json.decode(text, type=_Referring).ref
    except (msgspec.DecodeError, RecursionError):
        return None


def _ref_in_msgpack(data: bytes) -> str | None:
    try:
        return msgspec.msgpack.decode(data, type=_Referring).ref
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _in_json(frame: ClientFrame) -> ClientFrame:
    """`frame`, what stands in it as MessagePack turned into JSON."""
    match frame:
        case ClientMessage(data) | ClientSignal(data):
            return msgspec.structs.replace(frame, data=_json_of(data, "/data"))
        case ClientPresence(state):
            return ClientPresence(_json_of(state, "/state"))
    return frame


def _json_of(raw: msgspec.Raw, pointer: str) -> msgspec.Raw:
    """A value in MessagePack as JSON.  `pointer` is where it stands, one level deep."""
    # That all it announces is there has been seen when the frame was: nothing is made for empty promises.
    value = msgspec.msgpack.decode(raw)
    _check_is_json(value, pointer)
    return msgspec.Raw(msgspec.json.encode(value))


def _check_is_json(value: object, pointer: str) -> None:
    level = [value]
    # The frame itself is the first of the levels that there may be.
    for left in reversed(range(json_text.MAX_DEPTH)):
        below: list[object] = []
        for each in level:
            if not left and isinstance(each, dict | list):
                limit = json_text.MAX_DEPTH
                raise json_text.MalformedError(f"Arrays and maps are nested more than {limit} deep")
            if isinstance(each, dict):
                if not all(isinstance(key, str) for key in each):
                    _refuse("the key of a map has to be a string", pointer)
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif isinstance(each, float):
                if not isfinite(each):
                    _refuse("a number has to be finite", pointer)
            elif each is not None and not isinstance(each, str | int):
                _refuse("JSON has no binary data and no extensions", pointer)
        level = below


def _refuse(detail: str, pointer: str) -> NoReturn:
    raise json_text.InvalidError(detail, pointer)


def _number(digits: str) -> int | float:
    """A whole number as MessagePack can have it."""
    if len(digits) <= 20:
        number = int(digits)
        if -(2**63) <= number < 2**64:
            return number
    return float(digits)

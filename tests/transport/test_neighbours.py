"""What this server leans on inside of its neighbours is still there, and still does what it did.

A failure here after an upgrade says which assumption of `server/transport/http.py` or
`server/streams/responses.py` to look at; behaviour is tested everywhere else.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, cast

import h11
import pytest
import trio
import trio_websocket
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.protocol.events import Body, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGISendEvent, ConnectionState
from quart.wrappers import Response as QuartResponse
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioRequest
from quart_trio.wrappers.request import TrioBody
from wsproto.connection import Connection, ConnectionType
from wsproto.connection import ConnectionState as WebSocketState
from wsproto.events import CloseConnection

from server.transport.hypercorn import ResponseWriter

LEAN = "this server leans on it; look at what the upgrade changed, then at {}"
HTTP = LEAN.format("server/transport/http.py")
WEBSOCKET = LEAN.format("server/transport/websocket.py")
RESPONSES = LEAN.format("server/streams/responses.py")


@pytest.mark.parametrize(
    ("package", "pinned"),
    [("hypercorn", "0.18.0"), ("quart", "0.22.0"), ("quart-trio", "0.12.0"), ("trio-websocket", "0.12.2")],
)
def test_the_neighbours_are_of_the_versions_that_were_read(package: str, pinned: str) -> None:
    assert version(package) == pinned, (
        f"{package} has changed: read its changes for what this file lists, then change the pin here and in "
        "pyproject.toml together"
    )


def parameters(function: Callable[..., object]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            HTTPStream,
            ["app", "config", "context", "task_group", "ssl", "client", "server", "send", "stream_id"],
        ),
        (H11Protocol.stream_send, ["event"]),
        (H11Protocol._maybe_recycle, []),
        (HTTPStream.handle, ["event"]),
        (HTTPStream.app_send, ["message"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_hypercorns_signatures_are_the_ones_we_call(
    function: Callable[..., object], expected: list[str]
) -> None:
    assert parameters(function) == expected, HTTP


class RecordingTasks:
    """The TaskGroup protocol, remembering what was spawned."""

    def __init__(self) -> None:
        self.spawned: list[tuple[Any, ...]] = []

    async def spawn_app(self, *args: object) -> Callable[[object], object]:
        await trio.lowlevel.checkpoint()
        self.spawned.append(args)

        async def put(event: object) -> None:
            await trio.lowlevel.checkpoint()

        return put


class Stream:
    """An HTTPStream on its own, and the events that it sends to its protocol."""

    def __init__(self, config: Config) -> None:
        self.tasks = RecordingTasks()
        self.events: list[StreamEvent] = []
        self.http = HTTPStream(
            cast("Any", None),
            config,
            WorkerContext(None),
            cast("Any", self.tasks),
            False,
            ("192.0.2.1", 1),
            ("192.0.2.2", 2),
            self._send,
            STREAM_ID,
        )

    def state(self) -> ASGIHTTPState:
        return self.http.state

    async def _send(self, event: StreamEvent) -> None:
        await trio.lowlevel.checkpoint()
        self.events.append(event)


def quiet() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = None
    return config


REQUEST = Request(
    stream_id=STREAM_ID,
    headers=[(b"host", b"a")],
    http_version="1.1",
    method="GET",
    raw_path=b"/a%20b?q",
    state=ConnectionState({}),
)


async def test_a_stream_spawns_the_app_with_scope_and_send() -> None:
    stream = Stream(quiet())
    await stream.http.handle(REQUEST)
    ((_, _, scope, send),) = stream.tasks.spawned
    assert scope is stream.http.scope, HTTP
    assert send == stream.http.app_send, HTTP
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"q"), HTTP


async def test_a_streams_state_tells_how_far_the_answer_is() -> None:
    stream = Stream(quiet())
    await stream.http.handle(REQUEST)
    assert stream.state() is ASGIHTTPState.REQUEST, HTTP
    start = {"type": "http.response.start", "status": 200, "headers": []}
    await stream.http.app_send(cast("ASGISendEvent", start))
    # Quart sends its body at once; a handed-over stream has its head in this very call.
    assert [type(event) for event in stream.events] == [Response], HTTP
    assert stream.state() is ASGIHTTPState.RESPONSE, HTTP
    end = {"type": "http.response.body", "body": b"x", "more_body": False}
    await stream.http.app_send(cast("ASGISendEvent", end))
    assert [type(event) for event in stream.events] == [Response, Body, EndBody, StreamClosed], HTTP
    assert stream.state() is ASGIHTTPState.CLOSED, HTTP


@pytest.mark.parametrize("answered", [True, False])
async def test_a_stream_that_is_closed_early_or_late_makes_no_noise(answered: bool) -> None:
    stream = Stream(quiet())
    await stream.http.handle(REQUEST)
    if answered:
        stream.http.state = ASGIHTTPState.CLOSED
    await stream.http.handle(StreamClosed(stream_id=STREAM_ID))
    assert stream.events == [], HTTP


async def test_the_protocol_writes_through_the_connection_it_has() -> None:
    sent: list[Event] = []

    async def send(event: Event) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(event)

    connection = h11.Connection(h11.SERVER)
    # Made without H11Protocol's own initialiser: what writing needs is what it is given here.
    protocol = ResponseWriter(quiet(), connection, send)
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    connection.next_event()
    await protocol.stream_send(Response(stream_id=STREAM_ID, headers=[], status_code=200))
    (head,) = sent
    assert isinstance(head, RawData), HTTP
    assert head.data.startswith(b"HTTP/1.1 200 "), HTTP
    assert connection.our_state is h11.SEND_BODY, HTTP


def test_a_body_needs_of_its_base_what_ours_overrides_and_the_limit() -> None:
    given = {"_data", "_complete", "_has_data", "_must_raise", "_max_content_length"}
    assert set(TrioBody(None, None).__dict__) == given, RESPONSES


def test_h11_forgets_that_continue_is_due_once_an_answer_is_sent() -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    )
    connection.next_event()
    assert connection.they_are_waiting_for_100_continue, HTTP
    connection.send(h11.Response(status_code=200, headers=[]))
    assert not connection.they_are_waiting_for_100_continue, HTTP


@pytest.mark.parametrize(
    ("head", "state"),
    [(b"GET / HTTP/1.1\r\nHost: a", h11.DONE), (b"GET / HTTP/1.0", h11.MUST_CLOSE)],
    ids=["kept", "to be closed"],
)
def test_h11_says_the_end_of_a_body_in_two_states(head: bytes, state: object) -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head + b"\r\n\r\n")
    connection.next_event()
    assert connection.their_state is h11.SEND_BODY, HTTP
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    assert connection.their_state is state, HTTP


# trio-websocket and wsproto


def test_all_that_trio_websocket_asks_of_wsproto_a_connection_does_without_its_handshake() -> None:
    asked = set(re.findall(r"self\._wsproto\.(\w+)", inspect.getsource(trio_websocket.WebSocketConnection)))
    assert asked == {"client", "state", "send", "receive_data", "events"}, WEBSOCKET
    connection = Connection(ConnectionType.SERVER)
    assert all(hasattr(connection, name) for name in asked), WEBSOCKET


def test_wsproto_is_closed_by_its_answer_to_a_close_frame_and_not_by_its_own_first_word() -> None:
    begins = Connection(ConnectionType.SERVER)
    begins.send(CloseConnection(code=1009))
    answers = Connection(ConnectionType.SERVER)
    answers.receive_data(bytes([0x88, 0x80, 0, 0, 0, 0]))
    (close,) = answers.events()
    assert isinstance(close, CloseConnection), WEBSOCKET
    states = [begins.state, answers.state]
    answers.send(close.response())
    states.append(answers.state)
    closed = WebSocketState.CLOSED
    assert [state is closed for state in states] == [False, False, True], WEBSOCKET


# Quart and Quart-Trio


def test_the_connection_class_makes_request_and_answer_in_two_steps() -> None:
    assert parameters(TrioASGIHTTPConnection._create_request_from_scope) == ["send"], RESPONSES
    assert parameters(TrioASGIHTTPConnection._send_response) == ["send", "response"], RESPONSES
    assert parameters(TrioASGIHTTPConnection.__call__) == ["receive", "send"], RESPONSES


def test_the_app_takes_the_classes_that_we_give_it() -> None:
    assert QuartTrio.asgi_http_class is TrioASGIHTTPConnection, RESPONSES
    assert QuartTrio.request_class is TrioRequest, RESPONSES
    assert TrioRequest.body_class is TrioBody, RESPONSES


async def test_a_request_holds_a_body_of_its_body_class_with_the_apps_limit() -> None:
    class OwnBody(TrioBody):
        pass

    class OwnRequest(TrioRequest):
        body_class = OwnBody

    class OwnApp(QuartTrio):
        request_class = OwnRequest

    app = OwnApp(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 7
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"a")],
    }
    await trio.lowlevel.checkpoint()
    connection = TrioASGIHTTPConnection(app, cast("Any", scope))
    body = connection._create_request_from_scope(cast("Any", None)).body
    assert type(body) is OwnBody, RESPONSES
    assert body._max_content_length == 7, RESPONSES


async def test_a_response_keeps_the_body_that_it_is_given() -> None:
    await trio.lowlevel.checkpoint()
    response = QuartResponse("text")
    body = response.response
    assert hasattr(body, "__aenter__"), RESPONSES
    response.response = body
    assert response.response is body, RESPONSES

"""What the peers in Python share: a socket that listens, the line that says so, what a POST publishes."""

import json
import socket


def open_listener() -> socket.socket:
    """A socket on loopback that listens: what connects before the server accepts waits in its backlog."""
    return socket.create_server(("127.0.0.1", 0), backlog=2048)


def announce(name: str, listener: socket.socket) -> None:
    """Say where it listens, in the one line that a benchmark waits for."""
    print(f"{name}: listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)


def published(body: bytes) -> list[str]:
    """The data of each message in a body of JSON, or of NDJSON, as JSON again."""
    return [json.dumps(json.loads(line)["data"]) for line in body.splitlines() if line]

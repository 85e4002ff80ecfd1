"""A server that is killed while editors write: what anybody was told of is there when it is back."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import apsw
import pycrdt
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from server.wire.y_protocol import (
    SyncStep1,
    SyncStep2,
    Update,
    decode,
    encode_step_1,
    encode_update,
)
from tests.support.process import ServerProcess

ROUNDS = 6
PATIENCE = 20.0


def open_editor(server: ServerProcess) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}/documents/killed", proxy=None, max_size=None)


def write_on(socket: ClientConnection, round_: int) -> None:
    """Write word after word, until the connection breaks."""
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    words = doc.get("words", type=pycrdt.Array)
    try:
        for number in range(100_000):
            before = doc.get_state()
            words.append(f"{round_}-{number}")
            socket.send(encode_update(doc.get_update(before)))
    except ConnectionClosed:
        pass


def listen(socket: ClientConnection, heard: list[bytes], enough: threading.Event, wanted: int) -> None:
    """Take every update in, until the connection breaks."""
    try:
        while True:
            message = decode(socket.recv(timeout=PATIENCE))  # type: ignore[arg-type]
            if isinstance(message, Update):
                heard.append(message.update)
                if len(heard) >= wanted:
                    enough.set()
    except ConnectionClosed:
        pass


def whole(socket: ClientConnection) -> bytes:
    """The document as it is now."""
    socket.send(encode_step_1(b"\0"))
    while True:
        message = decode(socket.recv(timeout=PATIENCE))  # type: ignore[arg-type]
        if isinstance(message, SyncStep2):
            return message.update
        assert isinstance(message, SyncStep1)


def words_of(*updates: bytes) -> set[str]:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    for update in updates:
        doc.apply_update(update)
    return set(doc.get("words", type=pycrdt.Array).to_py() or [])


def test_a_server_killed_in_mid_write_has_all_that_was_passed_on(tmp_path: Path) -> None:
    chance = random.Random(5)
    told: set[str] = set()
    with ServerProcess(["--bind", "127.0.0.1:0", "--data", str(tmp_path)]) as server:
        for round_ in range(ROUNDS):
            heard: list[bytes] = []
            enough = threading.Event()
            with open_editor(server) as writer, open_editor(server) as listener:
                threads = [
                    threading.Thread(target=write_on, args=(writer, round_)),
                    threading.Thread(target=listen, args=(listener, heard, enough, chance.randint(5, 700))),
                ]
                for thread in threads:
                    thread.start()
                assert enough.wait(PATIENCE)
                server.kill()
                for thread in threads:
                    thread.join(PATIENCE)
            told |= words_of(*heard)
            assert len(told) > round_
            server.start_again()
            with open_editor(server) as reader:
                assert words_of(whole(reader)) >= told
        assert "Traceback" not in server.stderr
    connection = apsw.Connection(str(tmp_path / "documents.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()

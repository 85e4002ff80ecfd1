"""The server under TLS: the same streams, and peers that do not get through the handshake."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.clients.conftest import assert_nothing_failed
from tests.clients.sockets import Api, Connection, Subscriber, descriptors, wait_until
from tests.support.process import ServerProcess

CLIENT_HELLO_BEGINS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@dataclass(frozen=True)
class Certificates:
    """The server's files, and what a client must trust."""

    chain: Path
    key: Path
    authority: Path

    def context(self) -> ssl.SSLContext:
        """A client's."""
        return ssl.create_default_context(cafile=str(self.authority))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")
    files = Certificates(directory / "chain.pem", directory / "key.pem", directory / "authority.pem")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    for position, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(files.chain), append=position > 0)
    certificate.private_key_pem.write_to_path(str(files.key))
    authority.cert_pem.write_to_path(str(files.authority))
    return files


@pytest.fixture(scope="module")
def tls_server(certificates: Certificates) -> Iterator[ServerProcess]:
    tls = ["--certfile", str(certificates.chain), "--keyfile", str(certificates.key)]
    limits = ["--drain-seconds", "2", "--write-deadline", "1"]
    with ServerProcess(["--bind", "127.0.0.1:0", *tls, *limits]) as server:
        yield server
        assert_nothing_failed(server)


@pytest.fixture
def tls_api(tls_server: ServerProcess, certificates: Certificates) -> Iterator[Api]:
    with Api(tls_server.port, certificates.context()) as api:
        yield api


def test_the_ready_line_says_https(tls_server: ServerProcess) -> None:
    assert tls_server.url == f"https://127.0.0.1:{tls_server.port}"


def test_curl_shows_an_event_stream(tls_server: ServerProcess, certificates: Certificates) -> None:
    url = f"{tls_server.url}/topics/clock/events"
    command = ["curl", "--silent", "--no-buffer", "--max-time", "15", "--cacert", str(certificates.authority)]
    with subprocess.Popen([*command, url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"event: time\n" in process.stdout
        process.kill()


@pytest.mark.parametrize(("offered", "agreed"), [(["h2", "http/1.1"], "http/1.1"), ([], None)])
def test_http_1_1_is_agreed_on(
    tls_server: ServerProcess, certificates: Certificates, offered: list[str], agreed: str | None
) -> None:
    context = certificates.context()
    if offered:
        context.set_alpn_protocols(offered)
    with Connection(tls_server.port) as connection:
        connection.start_tls(context)
        assert isinstance(connection.socket, ssl.SSLSocket)
        assert connection.socket.selected_alpn_protocol() == agreed


def test_what_is_published_arrives_and_resumes(
    tls_server: ServerProcess, tls_api: Api, certificates: Certificates
) -> None:
    with Subscriber(tls_server.port, "safe", tls=certificates.context()) as subscriber:
        subscriber.wait_open()
        for number in range(5):
            tls_api.publish("safe", number)
        assert subscriber.wait_messages(5).data == list(range(5))
        position = subscriber.messages[1].id
    with Subscriber(
        tls_server.port, "safe", tls=certificates.context(), last_event_id=position
    ) as subscriber:
        assert subscriber.wait_messages(3).data == [2, 3, 4]


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00" * 1000,
        CLIENT_HELLO_BEGINS,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_bytes_that_are_no_tls_end_their_own_connection_only(
    tls_server: ServerProcess, tls_api: Api, said: bytes
) -> None:
    with Connection(tls_server.port) as connection:
        connection.send(said)
        connection.half_close()
        assert not connection.receive_all().startswith(b"HTTP/")
    assert tls_api.stats()["leaked"] == 0


def test_handshakes_that_are_never_finished_disturb_nobody(
    tls_server: ServerProcess, tls_api: Api, certificates: Certificates
) -> None:
    tls_api.wait_open_events(0)
    before = descriptors(tls_server.pid)
    with ExitStack() as stack:
        for number in range(100):
            connection = stack.enter_context(Connection(tls_server.port))
            connection.send(CLIENT_HELLO_BEGINS[: number % 12])
        with Subscriber(tls_server.port, "beside", tls=certificates.context()) as subscriber:
            subscriber.wait_open()
            tls_api.publish("beside", "fine")
            assert subscriber.wait_messages(1).data == ["fine"]
    wait_until(lambda: descriptors(tls_server.pid) <= before, f"{before} descriptors")


def test_a_reader_that_stops_is_gone_within_the_write_deadline(
    tls_server: ServerProcess, tls_api: Api, certificates: Certificates
) -> None:
    with Subscriber(tls_server.port, "big", tls=certificates.context(), receive_buffer=4096) as stalled:
        stalled.wait_open()
        for _ in range(10):
            tls_api.publish("big", "x" * 30_000)
        wait_until(lambda: tls_api.closed_events("slow_consumer") == 1, "the stalled one is gone")


@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
def test_no_descriptor_is_left_by_clients_that_leave(
    tls_server: ServerProcess, tls_api: Api, certificates: Certificates, how: str
) -> None:
    tls_api.wait_open_events(0)
    wait_until(lambda: tls_api.stats()["connections"]["http"] == 1, "only our own connection is open")
    before = descriptors(tls_server.pid)
    context = certificates.context()
    for _ in range(20):
        with Subscriber(tls_server.port, "left", tls=context) as subscriber:
            subscriber.wait_open()
            if how == "reset":
                subscriber.reset()
            elif how == "half-close":
                subscriber.socket.shutdown(socket.SHUT_WR)
    wait_until(lambda: descriptors(tls_server.pid) <= before, f"{before} descriptors")
    assert tls_api.stats()["subscriptions"] == 0


def test_a_drain_says_goodbye_and_ends_as_tls_does(certificates: Certificates) -> None:
    tls = ["--certfile", str(certificates.chain), "--keyfile", str(certificates.key)]
    with (
        ServerProcess(["--bind", "127.0.0.1:0", *tls]) as server,
        Subscriber(server.port, "a", tls=certificates.context()) as subscriber,
    ):
        subscriber.wait_open()
        server.send_signal(15)
        assert subscriber.wait_end().ended
        assert json.loads(subscriber.events[-1].data or "")["reason"] == "server_draining"
        # An end that is cut, without close_notify, would raise here.
        assert subscriber.socket.recv(1) == b""
        subscriber.close()
        assert server.wait() == 0
        assert_nothing_failed(server)

"""Over TLS all is as without: answers, streams, and learning that a client has left."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trustme

from server.lifecycle import CloseReason, RequestHead
from server.transport import AsgiApp, ByteStream
from tests.transport.served import Address, Client, Site, connected, echo, streaming

HEAD = RequestHead("GET", "/", "", ())

pytestmark = pytest.mark.time_limit(20)


class Certificates:
    """A certificate for localhost, and a client that trusts it."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.set_alpn_protocols(["http/1.1"])
        authority.issue_cert("localhost").configure_cert(self.server)
        self.client = ssl.create_default_context()
        self.client.set_alpn_protocols(["h2", "http/1.1"])
        authority.configure_trust(self.client)


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


@asynccontextmanager
async def secure_client(address: Address, certificates: Certificates) -> AsyncIterator[Client]:
    """A client over TLS, whose connection is closed without a word after the block."""
    tcp = await trio.open_tcp_stream(*address)
    stream = trio.SSLStream(tcp, certificates.client, server_hostname="localhost", https_compatible=True)
    try:
        await stream.do_handshake()
        yield Client(stream)
    finally:
        await trio.aclose_forcefully(stream)


async def test_requests_are_answered_over_http_1_1_alone(certificates: Certificates) -> None:
    site = Site(echo)
    async with (
        site.listening(tls=certificates.server) as address,
        secure_client(address, certificates) as client,
    ):
        assert isinstance(client.stream, trio.SSLStream)
        assert client.stream.selected_alpn_protocol() == "http/1.1"
        for number in range(2):
            await client.get(f"/{number}")
            assert (await client.answer()).body == b"GET /%d " % number


async def test_an_answer_that_is_whole_ends_with_close_notify(certificates: Certificates) -> None:
    site = Site(echo)
    async with site.listening(tls=certificates.server) as address:
        tcp = await trio.open_tcp_stream(*address)
        # Not lenient: an end without close_notify raises.
        stream = trio.SSLStream(tcp, certificates.client, server_hostname="localhost")
        client = Client(stream)
        await client.get(version="1.0")
        assert (await client.answer()).body == b"GET / "
        assert await client.rest() == b""
        await stream.aclose()


async def test_a_refused_body_may_be_sent_whole_before_the_answer_is_read(certificates: Certificates) -> None:
    site = Site(echo)
    async with (
        site.listening(tls=certificates.server) as address,
        secure_client(address, certificates) as client,
    ):
        # More than the kernels hold, and less than is discarded.
        await client.post(b"x" * 12_000_000)
        assert (await client.answer()).status == 413


def open_for_ever(sites: list[Site], over: trio.Event) -> AsgiApp:
    async def run(stream: ByteStream) -> None:
        try:
            with sites[0].registry.open_stream("events", HEAD):
                await stream.send_all(b"4\r\nopen\r\n")
                await trio.sleep_forever()
        finally:
            over.set()

    return streaming(run)


@pytest.mark.parametrize("goodbye", ["close_notify", "FIN"])
async def test_a_client_that_leaves_ends_its_stream(goodbye: str, certificates: Certificates) -> None:
    sites: list[Site] = []
    over = trio.Event()
    sites.append(Site(open_for_ever(sites, over)))
    async with (
        sites[0].listening(tls=certificates.server) as address,
        secure_client(address, certificates) as client,
    ):
        await client.get()
        data = b""
        while b"open" not in data:
            data += await client.stream.receive_some()
        if goodbye == "FIN":
            await trio.aclose_forcefully(client.stream)
        else:
            await client.stream.aclose()
        await over.wait()
    assert sites[0].ended == [CloseReason.CLIENT_DISCONNECTED]
    assert sites[0].server.failures == 0


async def test_who_does_not_speak_tls_harms_nobody(certificates: Certificates) -> None:
    site = Site(echo)
    async with site.listening(tls=certificates.server) as address:
        async with connected(address) as plain:
            await plain.get()
            assert b"HTTP" not in await plain.rest()
        async with secure_client(address, certificates) as client:
            await client.get()
            assert (await client.answer()).body == b"GET / "
    assert site.server.failures == 0

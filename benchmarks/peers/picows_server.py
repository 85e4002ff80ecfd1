"""picows: a room as its broadcast example writes it, on uvloop.

What a member sends goes to all as it came: nothing is parsed, numbered or kept, and what the kernel does not
take is the transport's to keep, without a bound.
"""

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from benchmarks.peers.shared import announce, open_listener

members: set[WSTransport] = set()


class Member(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        members.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        members.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            message = frame.get_payload_as_bytes()
            for member in members:
                member.send(WSMsgType.TEXT, message)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()


def accept(_: WSUpgradeRequest) -> Member:
    return Member()


async def main() -> None:
    with open_listener() as listener:
        server = await ws_create_server(accept, sock=listener)
        announce("picows", listener)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

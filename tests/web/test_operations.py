"""Health and statistics, as operators' programs read them."""

from __future__ import annotations

from trio.testing import MockClock

from tests.support.http_peer import open_world


async def test_health_is_live_and_ready_and_while_draining_live_alone(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert (await world.request("GET", "/health/live")).status == 200
        assert (await world.request("GET", "/health/ready")).status == 200
        world.application.gate.close()
        assert (await world.request("GET", "/health/live")).status == 200
        assert (await world.request("GET", "/health/ready")).problem == (503, "server_draining")


async def test_stats_have_the_shape_that_is_promised(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer = world.connect()
        events = await peer.open_events("/topics/news/events")
        await events.next()
        await world.publish("news", 1)
        stats = await world.stats()
        assert isinstance(stats.pop("uptime"), float)
        assert stats.pop("tasks") > 1
        assert stats.pop("buffered_bytes") > 0
        assert stats.pop("ceiling_bytes") == world.application.settings.memory_ceiling().total
        assert stats == {
            "connections": {"http": 0, "websocket": 0},
            "subscriptions": 1,
            "streams": {"events": 1, "room": 0, "generation": 0, "job": 0, "rows": 0, "file": 0, "text": 0},
            "messages": {"published": 1, "delivered": 1, "dropped": 0},
            "closed": {},
            "leaked": 0,
        }
        await peer.aclose()
        await world.wait_no_stream()
        stats = await world.stats()
        assert stats["closed"] == {"events": {"client_disconnected": 1}}
        assert (stats["subscriptions"], stats["streams"]["events"]) == (0, 0)


async def test_uptime_is_in_seconds(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        autojump_clock.jump(90)
        assert 90 <= (await world.stats())["uptime"] < 91

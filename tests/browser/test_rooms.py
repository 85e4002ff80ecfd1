"""Rooms in Chromium against the real server: the part of the page, and the client module under it."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.support.process import ServerProcess

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def other(page: Page) -> Page:
    """A second tab. The page's own storage keeps them two people."""
    return page.context.new_page()


def test_two_tabs_hear_each_other(running_server: ServerProcess, visit: Visit, other: Page) -> None:
    page = visit.page
    _join(page, running_server, "pair", "Ada")
    _join(other, running_server, "pair", "Grace")
    _say(page, "Hello Grace")
    _say(other, "Hello Ada")
    for tab in (page, other):
        expect(tab.locator(".said .text")).to_have_text(["Hello Grace", "Hello Ada"])
        expect(tab.locator(".said .name")).to_have_text(["Ada", "Grace"])
    expect(page.locator(".said.own")).to_have_count(1)
    assert visit.faults == []


def test_who_comes_and_goes_is_shown(running_server: ServerProcess, page: Page, other: Page) -> None:
    _join(page, running_server, "doors", "Ada")
    expect(page.locator("#people-more")).to_contain_text("Nobody else yet")
    _join(other, running_server, "doors", "Grace")
    expect(page.locator(".move.came")).to_contain_text("Grace came")
    expect(page.locator("#people .name")).to_have_text(["Ada", "Grace"])
    expect(other.locator("#people .name")).to_have_text(["Ada", "Grace"])
    other.get_by_role("button", name="Leave").click()
    expect(other.locator("#room-state")).to_have_text("Left")
    expect(page.locator(".move.left")).to_contain_text("Grace left")
    expect(page.locator("#people .name")).to_have_text(["Ada"])


def test_a_members_state_is_shown_as_it_changes(
    running_server: ServerProcess, page: Page, other: Page
) -> None:
    _join(page, running_server, "states", "Ada")
    other.goto(running_server.url)
    other.evaluate(
        """async () => {
            const { joinRoom } = await import("/client/rooms.js");
            window.room = joinRoom("states", { name: "Grace" });
            room.setState({ at: "<b>1</b>" });
        }"""
    )
    state = page.locator("#people .member-state")
    expect(state).to_have_text('{"at":"<b>1</b>"}')
    other.evaluate("room.setState({ away: true })")
    expect(state).to_have_text('{"away":true}')
    own = other.evaluate("room.members.find(({ member }) => member === room.member).state")
    assert own == {"away": True}
    other.evaluate("room.setState({})")
    expect(state).to_have_count(0)


def test_a_room_that_only_counts_shows_how_many_there_are(
    running_server: ServerProcess, page: Page, other: Page
) -> None:
    _join(page, running_server, "counted.hall", "Ada")
    _join(other, running_server, "counted.hall", "Grace")
    for tab, own in ((page, "Ada"), (other, "Grace")):
        expect(tab.locator("#people-count")).to_have_text("2")
        expect(tab.locator("#people .name")).to_have_text([own])
        expect(tab.locator("#people-more")).to_have_text("and 1 more")
    other.close()
    expect(page.locator("#people-count")).to_have_text("1", timeout=2 * PATIENCE_MS)


def test_markup_is_shown_as_text(running_server: ServerProcess, page: Page, other: Page) -> None:
    _join(page, running_server, "markup", "Ada")
    _join(other, running_server, "markup", "<i>Grace</i>")
    _say(other, "<b>x</b>")
    expect(page.locator(".said .text")).to_have_text("<b>x</b>")
    expect(page.locator(".said .name")).to_have_text("<i>Grace</i>")
    assert page.locator("#rooms-part :is(b, i)").count() == 0


def test_what_is_no_text_is_shown_as_json_of_the_server_side(
    running_server: ServerProcess, page: Page
) -> None:
    _join(page, running_server, "alarms", "Ada")
    _publish(running_server, "alarms", {"level": 3, "note": "<b>x</b>"})
    expect(page.locator(".said .data")).to_have_text('{"level": 3, "note": "<b>x</b>"}')
    expect(page.locator(".said .tag")).to_have_text("from the server side")


def test_after_a_restart_both_tabs_are_back_and_nothing_sent_is_lost(
    own_server: ServerProcess, page: Page, other: Page
) -> None:
    _join(page, own_server, "restarted", "Ada")
    _join(other, own_server, "restarted", "Grace")
    own_server.terminate()
    expect(page.locator("#room-state")).to_have_text("Reconnecting")
    expect(page.locator("#said .closing")).to_contain_text("The server is shutting down.")
    _say(page, "sent while away")
    expect(page.locator("#say-waiting")).to_have_text("1 message will be sent on the next connection.")
    own_server.restart()
    expect(page.locator(".said .text")).to_have_text("sent while away")
    expect(page.locator("#say-waiting")).to_be_empty()
    for tab in (page, other):
        expect(tab.locator("#room-state")).to_have_text("Live")
        # The server began anew: what it had before is gone.
        expect(tab.locator("#said .gap")).to_contain_text("gap: epoch")
    _say(other, "we are back")
    expect(page.locator(".said .text").last).to_have_text("we are back")


def test_a_reload_comes_back_and_a_left_room_does_not(running_server: ServerProcess, page: Page) -> None:
    _join(page, running_server, "kept", "Ada")
    page.reload()
    expect(page.locator("#room-state")).to_have_text("Live")
    expect(page.locator("#people .name")).to_have_text(["Ada"])
    page.get_by_role("button", name="Leave").click()
    page.reload()
    expect(page.locator("#room-state")).to_have_text("Not joined")
    expect(page.get_by_label("Room", exact=True)).to_have_value("kept")
    expect(page.get_by_label("Your name", exact=True)).to_have_value("Ada")


def test_a_reload_is_nobodys_news(running_server: ServerProcess, page: Page, other: Page) -> None:
    _join(page, running_server, "reloaded", "Ada")
    _join(other, running_server, "reloaded", "Grace")
    expect(page.locator(".move.came")).to_have_count(1)
    before = other.locator("#people .own .id").get_attribute("title")
    for _ in range(3):
        other.reload()
        expect(other.locator("#room-state")).to_have_text("Live")
    assert other.locator("#people .own .id").get_attribute("title") == before
    _say(other, "as if nothing had been")
    expect(page.locator(".said .name")).to_have_text("Grace")
    expect(page.locator(".move")).to_have_count(1)
    expect(page.locator("#people .name")).to_have_text(["Ada", "Grace"])


def test_a_connection_that_breaks_costs_no_message_and_shows_no_secret(
    running_server: ServerProcess, page: Page
) -> None:
    addresses: list[str] = []
    sockets: list[Any] = []

    def pass_on(socket: Any) -> None:
        addresses.append(socket.url)
        sockets.append(socket)
        socket.connect_to_server()

    page.route_web_socket("**/rooms/broken*", pass_on)
    page.goto(f"{running_server.url}/#demo")
    page.evaluate(
        """() => new Promise(async (live) => {
            const { joinRoom } = await import("/client/rooms.js");
            window.heard = [];
            window.states = [];
            window.room = joinRoom("broken", {
                onMessage: ({ data }) => heard.push(data),
                onGap: () => heard.push("gap"),
                onState: (state, { resumed }) => { states.push([state, resumed]); live(); },
            });
        })"""
    )
    _publish(running_server, "broken", 1)
    _wait_heard(page, 1)
    member = page.evaluate("room.member")
    for number in range(2, 5):
        sockets[-1].close(code=1001)
        _publish(running_server, "broken", number)
        _wait_heard(page, number)
    assert page.evaluate("heard") == [1, 2, 3, 4]
    assert page.evaluate("room.member") == member
    assert page.evaluate("states.filter(([state]) => state === 'live').map(([, resumed]) => resumed)") == [
        False,
        True,
        True,
        True,
    ]
    secret = page.evaluate("sessionStorage.getItem(Object.keys(sessionStorage)[0])")
    assert len(secret) == 32
    assert not any(secret in address for address in addresses)
    page.evaluate("room.close()")
    assert page.evaluate("sessionStorage.length") == 0


def test_presence_and_signals_reach_the_callbacks(
    running_server: ServerProcess, page: Page, other: Page
) -> None:
    for tab in (page, other):
        tab.goto(f"{running_server.url}/#demo")
        tab.evaluate(
            """() => new Promise(async (live) => {
                const { joinRoom } = await import("/client/rooms.js");
                window.heard = [];
                window.room = joinRoom("moods", {
                    onPresence: ({ state }) => heard.push(state),
                    onSignal: ({ data }) => heard.push(data),
                    onState: () => live(),
                });
            })"""
        )
    other.evaluate("room.setState({ mood: 1 })")
    _wait_heard(page, 1)
    assert page.evaluate("room.members.map(({ state }) => state)") == [{}, {"mood": 1}]
    other.evaluate("room.signal('psst')")
    _wait_heard(page, 2)
    assert page.evaluate("heard") == [{"mood": 1}, "psst"]
    assert other.evaluate("heard") == []


def test_an_address_of_another_room_moves_over(
    running_server: ServerProcess, page: Page, other: Page
) -> None:
    _join(page, running_server, "first", "Ada")
    _join(other, running_server, "first", "Grace")
    other.evaluate("location.hash = '#room=second'")
    expect(other.locator("#room-shown")).to_have_text("second")
    expect(other.locator("#room-state")).to_have_text("Live")
    expect(page.locator(".move.left")).to_contain_text("Grace left")


def test_a_room_goes_on_behind_the_topics(running_server: ServerProcess, page: Page) -> None:
    _join(page, running_server, "behind", "Ada")
    page.get_by_role("link", name="Topics", exact=True).click()
    expect(page.locator("#state")).to_have_text("Live")
    _publish(running_server, "behind", "meanwhile")
    page.get_by_role("link", name="Rooms", exact=True).click()
    expect(page.locator(".said .text")).to_have_text("meanwhile")
    assert page.evaluate("location.hash") == "#room=behind"


@pytest.mark.parametrize(
    ("room", "name", "field"),
    [("two words", "Ada", "room"), ("fine", "", "member-name"), ("fine", "x" * 65, "member-name")],
)
def test_a_bad_name_is_said_beside_its_field(
    running_server: ServerProcess, page: Page, room: str, name: str, field: str
) -> None:
    page.goto(f"{running_server.url}/#room=lobby")
    page.get_by_label("Room", exact=True).fill(room)
    page.get_by_label("Your name", exact=True).fill(name)
    page.get_by_label("Your name", exact=True).press("Enter")
    expect(page.locator(f"#{field}-error")).not_to_be_empty()
    expect(page.locator(f"#{field}")).to_be_focused()
    expect(page.locator("#room-state")).to_have_text("Not joined")


def test_a_room_closed_for_good_says_why(running_server: ServerProcess, page: Page) -> None:
    page.route_web_socket("**/rooms/forbidden?*", lambda socket: socket.close(code=4403, reason="forbidden"))
    page.goto(f"{running_server.url}/#room=forbidden")
    page.get_by_label("Your name", exact=True).fill("Ada")
    page.get_by_label("Your name", exact=True).press("Enter")
    expect(page.locator("#room-state")).to_have_text("Closed")
    expect(page.locator("#room-closed-why")).to_have_text("You may not be in this room. “Join” tries again.")
    expect(page.get_by_label("Message", exact=True)).to_be_disabled()


def test_a_message_too_long_is_given_back(running_server: ServerProcess, page: Page) -> None:
    _join(page, running_server, "long", "Ada")
    long = "w" * 70_000
    _say(page, long)
    expect(page.locator("#say-error")).to_contain_text("64 KiB")
    expect(page.get_by_label("Message", exact=True)).to_have_value(long)
    expect(page.locator("#room-state")).to_have_text("Live")


def test_the_client_settles_each_send(running_server: ServerProcess, page: Page) -> None:
    page.goto(f"{running_server.url}/#demo")
    outcomes = page.evaluate(
        """async () => {
            const { joinRoom, RoomError } = await import("/client/rooms.js");
            let deep = 0;
            for (let depth = 0; depth < 70; depth += 1) deep = [deep];
            const room = joinRoom("settled");
            const before = room.send({ any: ["thing"] });
            const sends = [before, room.send(deep), room.send("\\ud800"), room.send()];
            const settled = await Promise.allSettled(sends);
            room.close();
            settled.push(...await Promise.allSettled([room.send("late")]));
            return settled.map(({ value, reason }) =>
                value ? typeof value.id : reason instanceof RoomError && reason.code);
        }"""
    )
    assert outcomes == ["string", "frame_malformed", "data_invalid", "data_invalid", "room_closed"]


CLOSES = {
    1001: (0, 0),
    1012: (1234, 1234),
    4408: (0, 0),
    4413: (0, 0),
    1006: (1000, 30_000),
    1011: (1000, 30_000),
    1013: (1000, 30_000),
    4429: (1000, 30_000),
} | dict.fromkeys((1000, 1003, 1007, 1008, 1009, 4401, 4403))


@pytest.mark.parametrize("code", CLOSES)
def test_the_client_does_what_the_close_code_asks(
    running_server: ServerProcess, page: Page, code: int
) -> None:
    page.goto(f"{running_server.url}/#demo")
    detail: dict[str, Any] = page.evaluate(
        """code => new Promise(async (resolve) => {
            window.WebSocket = class extends EventTarget {
                constructor() {
                    super();
                    setTimeout(() => this.play());
                }
                play() {
                    const frame = { room: "r", member: "m", resumed: false, cursor: "", heartbeat: 20,
                        member_count: 1, members: [] };
                    const tell = (type, data) => this.dispatchEvent(Object.assign(new Event(type), data));
                    tell("message", { data: JSON.stringify({ type: "welcome", ...frame }) });
                    const closing = { type: "closing", reason: "r", reconnect: true, retry_ms: 1234 };
                    tell("message", { data: JSON.stringify(closing) });
                    tell("close", { code, reason: "why" });
                }
                send() {}
                close() {}
            };
            const { joinRoom } = await import("/client/rooms.js");
            const room = joinRoom("closes", { onState: (state, detail) => {
                if (state === "live") return;
                resolve({ state, ...detail });
                room.close();
            } });
        })""",
        code,
    )
    bounds = CLOSES[code]
    assert (detail["code"], detail["reason"]) == (code, "why")
    assert detail["state"] == ("closed" if bounds is None else "reconnecting")
    if bounds is not None:
        assert bounds[0] <= detail["retryMs"] <= bounds[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_at_320_pixels(running_server: ServerProcess, page: Page, scheme: Any) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme=scheme)
    room = "a-rather-long-name." * 6
    _join(page, running_server, room, "W" * 64)
    _say(page, "w" * 500)
    _publish(running_server, room, {"unbroken": "w" * 500})
    expect(page.locator(".said")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_rooms_are_where_the_page_is(running_server: ServerProcess) -> None:
    with urlopen(f"{running_server.url}/client/rooms.json", timeout=10) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert json.load(answer) == {"url": None}


def _join(page: Page, server: ServerProcess, room: str, name: str) -> None:
    page.goto(f"{server.url}/#room={room}")
    page.get_by_label("Your name", exact=True).fill(name)
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.locator("#room-state")).to_have_text("Live")


def _wait_heard(page: Page, count: int) -> None:
    page.evaluate(
        """count => new Promise((done) => {
            const look = () => heard.length >= count ? done() : setTimeout(look, 20);
            look();
        })""",
        count,
    )


def _say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_label("Message", exact=True).press("Enter")


def _publish(server: ServerProcess, room: str, data: object) -> None:
    body = json.dumps({"data": data}).encode()
    request = Request(f"{server.url}/rooms/{room}", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        assert answer.status == 201

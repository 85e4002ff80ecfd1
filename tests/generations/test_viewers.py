"""Many viewers of one generation: all see the same text, and none delays another."""

from __future__ import annotations

import json

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from server.generations import State
from server.generations.stream import _Writer
from server.hub import Cursor
from server.lifecycle import CloseReason
from server.transport import Framing, Sent
from server.wire.deltas import Finish, Text
from server.wire.generations import FORMS
from tests.support.clock import limited
from tests.support.generating import BytesWire, TextWire, Upstream, joined, open_studio, words


class StalledWire(TextWire):
    """Takes its first bytes and then none, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = trio.Event()
        self._first = True

    def try_send(self, frame: bytes) -> Sent:
        return super().try_send(frame) if self.go_on.is_set() else Sent.BUSY

    async def send_all(self, data: bytes) -> None:
        if not self._first:
            await self.go_on.wait()
        self._first = False
        await super().send_all(data)


class SlowWire(TextWire):
    """Takes a write in `seconds`, and nothing without waiting."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.writes = 0
        self._seconds = seconds

    def try_send(self, frame: bytes) -> Sent:
        return Sent.BUSY

    async def send_all(self, data: bytes) -> None:
        await trio.sleep(self._seconds)
        self.writes += 1
        await super().send_all(data)


async def test_a_hundred_viewers_at_200_tokens_a_second_see_the_same_and_a_stalled_one_delays_none(
    autojump_clock: MockClock,
) -> None:
    async with open_studio(Upstream(*words(1000, 0.005)).provider) as studio:
        generation = studio.start()
        stalled, slow = StalledWire(), SlowWire(0.5)
        wires = [TextWire() for _ in range(100)]
        behind = [studio.view(generation, stalled), studio.view(generation, slow)]
        viewers = [studio.view(generation, wire) for wire in wires[:50]]
        await trio.sleep(2)
        viewers += [studio.view(generation, wire) for wire in wires[50:]]
        await generation.wait_over()
        await wait_all_tasks_blocked()
        # In the very moment of its end, everybody but those two has it all.
        assert trio.current_time() == pytest.approx(5.0)
        assert {wire.text for wire in wires} == {joined(words(1000))}
        assert all(viewer.complete for viewer in viewers)
        # Who keeps up gets each token by itself.
        assert wires[0].names == ["token"] * 1000 + ["done"]
        stalled.go_on.set()
        for viewer in behind:
            await viewer.ended.wait()
            assert viewer.complete
        for wire in (stalled, slow):
            assert wire.text == generation.text
            assert wire.names[-1] == "done"
        # What was missed comes joined, in a few pieces.
        assert slow.names.count("token") == slow.writes - 1 < 25
        assert stalled.names.count("token") < 25
        assert studio.closed == {CloseReason.COMPLETED: 102}
        assert studio.services.hub.dropped == 0


async def test_a_viewer_that_never_reads_holds_up_neither_the_end_nor_the_stop(
    autojump_clock: MockClock,
) -> None:
    async with open_studio(Upstream(*words(100, 0.1)).provider) as studio:
        generation = studio.start()
        viewer = studio.view(generation, StalledWire())
        await trio.sleep(5)
        await generation.stop()
        assert (generation.state, trio.current_time()) == (State.STOPPED, 5.0)
        assert not viewer.ended.is_set()
        viewer.leave()


# Cut and resumed

_TEXTS = st.lists(
    st.tuples(
        st.sampled_from(["a", " word", "ü", "😀", "\u2028", "\n\n", '"', "data: x\n\n", "\\u0000"]),
        st.sampled_from([0.0, 0.1, 1.0]),
    ),
    min_size=1,
    max_size=12,
)


class CutWire:
    """A connection that is cut once so many bytes have arrived; what arrived is `data`."""

    framing = Framing.IDENTITY

    def __init__(self, room: int) -> None:
        self.data = b""
        self.bytes_sent = 0
        self._room = room

    @property
    def is_cut(self) -> bool:
        return len(self.data) >= self._room

    def _take(self, data: bytes) -> None:
        self.data += data[: self._room - len(self.data)]

    def try_send(self, frame: bytes) -> Sent:
        if self.is_cut:
            return Sent.GONE
        self._take(frame)
        return Sent.GONE if self.is_cut else Sent.SENT

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._take(data)
        if self.is_cut:
            raise trio.BrokenResourceError


def read_events(data: bytes) -> tuple[str, str | None, bool]:
    """Text, last id and whether the end was seen, as a client that was cut has them: whole events alone."""
    text, last, ended = "", None, False
    for block in data.decode(errors="ignore").split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        last = fields.get("id", last)
        if fields.get("event") == "token":
            text += json.loads(fields["data"])["content"]
        ended = ended or fields.get("event") == "done"
    return text, last, ended


def read_ndjson(data: bytes) -> tuple[str, str | None, bool]:
    """The same of NDJSON."""
    text, last, ended = "", None, False
    for line in data.split(b"\n")[:-1]:
        value = json.loads(line)
        last = value.get("id", last)
        text += value.get("content", "")
        ended = ended or "done" in value
    return text, last, ended


def read_ag_ui(data: bytes) -> tuple[str, str | None, bool]:
    """The same of AG-UI."""
    text, last, ended = "", None, False
    for block in data.decode(errors="ignore").split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        last = fields.get("id", last)
        value = json.loads(fields.get("data", "{}"))
        text += value.get("delta", "") if value.get("type") == "TEXT_MESSAGE_CONTENT" else ""
        ended = ended or value.get("type") == "RUN_FINISHED"
    return text, last, ended


READERS = {"events": read_events, "ndjson": read_ndjson, "ag-ui": read_ag_ui}


@pytest.mark.parametrize("format", READERS)
@given(
    texts=_TEXTS, cuts=st.lists(st.tuples(st.integers(1, 400), st.sampled_from([0.0, 0.05, 2.0])), max_size=6)
)
@settings(max_examples=60, deadline=None)
def test_wherever_it_is_cut_and_resumed_the_text_is_that_of_an_uninterrupted_viewer(
    format: str, texts: list[tuple[str, float]], cuts: list[tuple[int, float]]
) -> None:
    trio.run(limited(_cut_and_resume), format, texts, cuts, clock=MockClock(autojump_threshold=0))


async def _cut_and_resume(format: str, texts: list[tuple[str, float]], cuts: list[tuple[int, float]]) -> None:
    script = [step for text, pause in texts for step in (pause, text)]
    read = READERS[format]
    async with open_studio(Upstream(*script).provider) as studio:
        generation = studio.start(detach_seconds=50)
        whole = studio.view(generation, uninterrupted := BytesWire(), format=format)
        text, last = "", None
        for room, pause in cuts:
            viewer = studio.view(generation, wire := CutWire(room), format=format, after=last)
            await viewer.ended.wait()
            part, place, ended = read(wire.data)
            text += part
            last = (Cursor.parse(place) if place else None) or last
            await trio.sleep(pause)
            if ended:
                break
        else:
            viewer = studio.view(generation, rest := BytesWire(), format=format, after=last)
            await viewer.ended.wait()
            part, _, ended = read(rest.data)
            text += part
        assert ended
        await whole.ended.wait()
        assert text == read(uninterrupted.data)[0] == "".join(piece for piece, _ in texts)


async def test_without_joining_each_delta_is_encoded_by_itself(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream("a", "b", "c").provider) as studio:
        generation = studio.start()
        await generation.wait_over()
        kept = studio.services.hub.excerpt(generation.topic, None, None, 10).messages
        ids = [message.id for message in kept]
        for joined_, expected in (
            (True, [(ids[2], Text("abc", 3))]),
            (False, [(ids[0], Text("a")), (ids[1], Text("b")), (ids[2], Text("c"))]),
        ):
            writer = _Writer(TextWire(), FORMS["events"](generation.about), None, joined=joined_)
            assert list(writer._joining(kept)) == [*expected, (ids[3], Finish("stop"))]
        # What the viewer has had is not joined to what it has not.
        writer = _Writer(TextWire(), FORMS["events"](generation.about), ids[0], joined=True)
        assert list(writer._joining(kept))[:2] == [(ids[0], Text("a")), (ids[2], Text("bc", 2))]

"""What a generation ends as, and why; who may end it; what is left of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.generations import (
    GenerationRequest,
    GenerationUnknownError,
    Provider,
    ProviderError,
    RequestError,
    State,
)
from server.generations.generation import AFTER_FINISH_SECONDS
from server.lifecycle import CloseReason
from server.wire.deltas import Delta, Failure, Finish, Text, ToolCall, Usage
from server.wire.prompts import Turn
from tests.support.generating import BytesWire, TextWire, Upstream, joined, open_studio, words


def closing_of(generation: object) -> list[object]:
    return [delta for _, delta in generation.deltas() if isinstance(delta, Finish | Failure)]  # type: ignore[attr-defined]


async def test_it_runs_to_its_end_and_is_kept_with_its_text(autojump_clock: MockClock) -> None:
    upstream = Upstream("a", 1, " b", Usage(7, 2), Finish("stop"))
    async with open_studio(upstream.provider) as studio:
        wire = TextWire()
        generation = studio.start()
        viewer = studio.view(generation, wire)
        assert (generation.state, generation.reason) == (State.RUNNING, None)
        await viewer.ended.wait()
        await generation.wait_over()
        assert (generation.state, generation.reason) == (State.DONE, "stop")
        assert (generation.text, wire.text, generation.tokens) == ("a b", "a b", 2)
        assert wire.names == ["token", "token", "done"]
        assert closing_of(generation) == [Finish("stop")]
        assert (upstream.opened, upstream.closed) == (1, 1)
        assert studio.closed == {CloseReason.COMPLETED: 1}
        assert studio.generations.find(generation.id) is generation


async def test_usage_goes_before_the_closing_delta_wherever_the_provider_puts_it(
    autojump_clock: MockClock,
) -> None:
    async with open_studio(Upstream("a", Finish("length"), Usage(1, 2)).provider) as studio:
        generation = studio.start()
        await generation.wait_over()
        assert [delta for _, delta in generation.deltas()] == [Text("a"), Usage(1, 2), Finish("length")]
        assert generation.reason == "length"


async def test_a_provider_that_lingers_behind_its_finish_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream("a", Finish("stop"), 30.0).provider) as studio:
        generation = studio.start(detach_seconds=100)
        began = trio.current_time()
        await generation.wait_over()
        assert generation.state is State.DONE
        assert trio.current_time() - began == pytest.approx(AFTER_FINISH_SECONDS)


async def test_calls_of_tools_are_kept_as_they_came(autojump_clock: MockClock) -> None:
    calls = [ToolCall("c1", "look", '{"a"'), ToolCall("c1", "", ":1}")]
    async with open_studio(Upstream(*calls, Finish("tool_calls")).provider) as studio:
        generation = studio.start()
        await generation.wait_over()
        assert [delta for _, delta in generation.deltas()] == [*calls, Finish("tool_calls")]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "ü\u2028😀", '"\\', "data: x\n\nevent: y", "\0\r\n"])
async def test_any_text_comes_out_as_it_went_in(autojump_clock: MockClock, text: str) -> None:
    async with open_studio(Upstream("a", text, "z").provider) as studio:
        wires = [TextWire(), TextWire()]
        generation = studio.start()
        first = studio.view(generation, wires[0])
        await generation.wait_over()
        second = studio.view(generation, wires[1])
        await first.ended.wait()
        await second.ended.wait()
        assert [wire.text for wire in wires] == [f"a{text}z"] * 2


# Ending it


async def test_however_short_it_is_detached_for_its_first_viewer_has_time_to_come(
    autojump_clock: MockClock,
) -> None:
    async with open_studio(Upstream(1, "a", 1, "b").provider) as studio:
        generation = studio.start(detach_seconds=0.0)
        await trio.sleep(1.5)
        wire = TextWire()
        viewer = studio.view(generation, wire)
        await viewer.ended.wait()
        assert (generation.state, wire.text) == (State.DONE, "ab")


@pytest.mark.parametrize(
    ("ending", "state", "reason"),
    [
        ("abandoned", State.ABANDONED, "abandoned"),
        ("silent", State.FAILED, "provider_slow"),
        ("drained", State.FAILED, "server_draining"),
        ("long", State.DONE, "length"),
        ("lingering", State.DONE, "stop"),
    ],
)
async def test_a_provider_that_fails_in_its_cleanup_changes_nothing(
    autojump_clock: MockClock, ending: str, state: State, reason: str
) -> None:
    async def failing(request: GenerationRequest) -> AsyncGenerator[Delta | str, None]:
        try:
            yield "a"
            if ending == "lingering":
                yield Finish("stop")
            if ending != "long":
                await trio.sleep(1000)
            yield "b"
        finally:
            raise RuntimeError("in its cleanup")

    provider = Provider("failing", failing, ("failing",))
    silence = 5.0 if ending == "silent" else 2000.0
    async with open_studio(provider, silence=silence) as studio:
        generation = studio.start(detach_seconds=10.0 if ending == "abandoned" else 3000.0, max_tokens=1)
        if ending == "drained":
            await trio.sleep(1)
        else:
            await generation.wait_over()
    assert (generation.state, generation.reason) == (state, reason)


@pytest.mark.parametrize("delta", ["", Usage(1, 1)], ids=["empty texts", "usage"])
async def test_a_provider_that_says_nothing_without_end_holds_up_nobody(delta: Delta | str) -> None:
    given = 0

    async def chattering(request: GenerationRequest) -> AsyncGenerator[Delta | str, None]:
        nonlocal given
        for given in range(10_000):  # noqa: B007
            yield delta

    async with open_studio(Provider("chattering", chattering, ("chattering",))) as studio:
        generation = studio.start()
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        assert 0 < given < 100
        await generation.stop()
        assert generation.state is State.STOPPED


async def test_stop_ends_it_for_all_and_waits_for_the_upstream(autojump_clock: MockClock) -> None:
    upstream = Upstream("a", 1000.0, "b")
    async with open_studio(upstream.provider, silence=2000.0) as studio:
        wires = [TextWire(), TextWire()]
        generation = studio.start()
        viewers = [studio.view(generation, wire) for wire in wires]
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await generation.stop()
        assert upstream.closed == 1
        assert (generation.state, generation.reason) == (State.STOPPED, "client_stopped")
        await generation.stop()
        assert generation.state is State.STOPPED
        for viewer in viewers:
            await viewer.ended.wait()
        assert trio.current_time() == began
        assert [wire.names for wire in wires] == [["token", "done"]] * 2
        assert closing_of(generation) == [Finish("cancelled")]
        assert studio.closed == {CloseReason.CLIENT_STOPPED: 2}


async def test_a_stop_of_what_has_ended_changes_nothing(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream("a").provider) as studio:
        generation = studio.start()
        await generation.wait_over()
        await generation.stop()
        assert generation.state is State.DONE


async def test_when_the_last_viewer_goes_it_is_cancelled(autojump_clock: MockClock) -> None:
    upstream = Upstream("a", 50.0, "b")
    async with open_studio(upstream.provider) as studio:
        generation = studio.start()
        first, second = (studio.view(generation, TextWire()) for _ in range(2))
        await wait_all_tasks_blocked()
        first.leave()
        await wait_all_tasks_blocked()
        assert generation.is_running
        second.leave()
        await wait_all_tasks_blocked()
        assert (generation.state, generation.reason) == (State.ABANDONED, "client_disconnected")
        assert upstream.closed == 1
        assert studio.closed == {CloseReason.CLIENT_DISCONNECTED: 2}


async def test_who_asked_and_never_came_is_not_waited_for_long(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream("a", 50.0).provider) as studio:
        generation = studio.start()
        await generation.wait_over()
        assert (generation.state, generation.reason) == (State.ABANDONED, "abandoned")
        assert trio.current_time() < 50


async def test_detached_it_goes_on_and_is_abandoned_when_nobody_comes_back(autojump_clock: MockClock) -> None:
    upstream = Upstream(*words(100, 1.0))
    async with open_studio(upstream.provider) as studio:
        generation = studio.start(detach_seconds=10)
        viewer = studio.view(generation, TextWire())
        await trio.sleep(20.5)
        viewer.leave()
        await trio.sleep(9)
        assert generation.is_running
        again = studio.view(generation, wire := TextWire())
        await trio.sleep(30)
        assert generation.is_running
        again.leave()
        left_at = trio.current_time()
        await generation.wait_over()
        assert trio.current_time() - left_at == pytest.approx(10)
        assert (generation.state, generation.reason) == (State.ABANDONED, "abandoned")
        assert upstream.closed == 1
        assert generation.text.startswith(wire.text)
        assert closing_of(generation) == [Finish("cancelled")]


async def test_a_generation_that_is_erased_lets_go_of_its_viewers_and_its_text(
    autojump_clock: MockClock,
) -> None:
    async with open_studio(Upstream(*words(10, 1.0)).provider) as studio:
        hub = studio.services.hub
        generation = studio.start()
        viewer = studio.view(generation, wire := TextWire())
        await trio.sleep(3.5)
        await studio.generations.erase(generation)
        await viewer.ended.wait()
        assert viewer.complete
        assert wire.names == ["token", "token", "token", "done"]
        with pytest.raises(GenerationUnknownError) as unknown:
            studio.generations.find(generation.id)
        assert not unknown.value.gone
        await wait_all_tasks_blocked()
        assert list(hub.topic_names()) == []
        assert hub.history_bytes == 0
        late = studio.view(generation, wire := TextWire())
        await late.ended.wait()
        assert wire.names == ["done"]
        assert list(hub.topic_names()) == []


# Failing


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ProviderError("provider_limited", "secret words"), "provider_limited"),
        (RuntimeError("secret words"), "provider_failed"),
        (ExceptionGroup("secret", [ValueError("words")]), "provider_failed"),
    ],
)
@pytest.mark.parametrize("before", [(), ("a", " b")])
async def test_a_failure_is_told_in_our_words_and_logged_in_its_own(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    code: str,
    before: tuple[str, ...],
) -> None:
    upstream = Upstream(*before, failure)
    async with open_studio(upstream.provider) as studio:
        generation = studio.start()
        viewer = studio.view(generation, wire := TextWire())
        await viewer.ended.wait()
        assert viewer.complete
        await generation.wait_over()
        assert (generation.state, generation.reason) == (State.FAILED, code)
        assert wire.text == joined(before)
        assert (wire.names[-1], wire.names.count("error"), wire.names.count("done")) == ("error", 1, 0)
        assert code in str(wire.events[-1].data)
        assert "secret" not in str(wire.events)
        assert studio.closed == {CloseReason.FAILED: 1}
        assert upstream.closed == 1
    assert "secret" in caplog.text


@pytest.mark.parametrize("before", [(), ("a",)])
async def test_a_provider_that_falls_silent_fails(autojump_clock: MockClock, before: tuple[str, ...]) -> None:
    upstream = Upstream(*before, 1000.0)
    async with open_studio(upstream.provider, silence=60.0) as studio:
        generation = studio.start()
        viewer = studio.view(generation, wire := TextWire())
        await viewer.ended.wait()
        assert trio.current_time() == pytest.approx(60)
        assert (generation.reason, upstream.closed) == ("provider_slow", 1)
        # Before the first token there is a sign of life too.
        assert [event.comment for event in wire.events].count("") >= 3
        assert wire.names[-1] == "error"


async def test_an_empty_piece_of_text_ends_the_silence(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream(4, "", 4, "", 4, "a").provider, silence=5.0) as studio:
        generation = studio.start(detach_seconds=100)
        await generation.wait_over()
        assert (generation.state, generation.text, generation.tokens) == (State.DONE, "a", 1)


async def test_garbage_from_a_provider_is_a_failure(autojump_clock: MockClock) -> None:
    wrong: Any = None
    for garbage in (7j, "\ud800", Text(wrong), Usage(1, wrong), ToolCall("", wrong, ""), Failure("x", "y")):
        async with open_studio(Upstream("a", garbage).provider) as studio:  # type: ignore[arg-type]
            generation = studio.start()
            await generation.wait_over()
            assert (generation.reason, generation.text) == ("provider_failed", "a")


async def test_a_failure_of_the_providers_own_making_is_passed_on(autojump_clock: MockClock) -> None:
    failure = Failure("provider_refused", "The model does not do that.")
    async with open_studio(Upstream("a", failure, "b").provider) as studio:
        generation = studio.start()
        await generation.wait_over()
        assert [delta for _, delta in generation.deltas()] == [Text("a"), failure]
        assert generation.reason == "provider_refused"


async def test_a_provider_that_fails_while_it_is_stopped_leaves_it_stopped(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Upstream):
        async def stream(self, request):  # type: ignore[no-untyped-def]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._fail_when_cancelled)
                yield "a"  # noqa: ASYNC101, ASYNC119 - a provider may, as it is closed in the same task
                await trio.sleep(1000)

        async def _fail_when_cancelled(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise RuntimeError("torn")

    async with open_studio(Stubborn().provider) as studio:
        generation = studio.start()
        await wait_all_tasks_blocked()
        await generation.stop()
        assert (generation.state, closing_of(generation)) == (State.STOPPED, [Finish("cancelled")])
    assert "torn" in caplog.text


# Limits


async def test_an_answer_ends_at_its_tokens(autojump_clock: MockClock) -> None:
    upstream = Upstream(*words(10))
    async with open_studio(upstream.provider, max_tokens=5) as studio:
        short, capped = studio.start(max_tokens=3), studio.start(max_tokens=500)
        for generation, count in ((short, 3), (capped, 5)):
            await generation.wait_over()
            assert (generation.state, generation.reason) == (State.DONE, "length")
            assert generation.text == joined(words(count))
        assert upstream.closed == 2


async def test_an_answer_of_just_so_many_tokens_is_whole(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream(*words(5)).provider, max_tokens=5) as studio:
        generation = studio.start()
        await generation.wait_over()
        assert (generation.reason, generation.tokens) == ("stop", 5)


async def test_an_answer_ends_at_its_bytes_and_can_be_read_whole(autojump_clock: MockClock) -> None:
    size = 100 * 1024
    async with open_studio(Upstream(*["x" * 5000] * 50).provider, size=size) as studio:
        generation = studio.start()
        await generation.wait_over()
        assert (generation.state, generation.reason) == (State.DONE, "length")
        assert 20_000 < len(generation.text) < size
        assert studio.services.hub.history_bytes == generation.size <= size
        viewer = studio.view(generation, wire := TextWire())
        await viewer.ended.wait()
        assert wire.text == generation.text


@pytest.mark.parametrize(
    ("turns", "asked", "code", "pointer"),
    [
        ((), {}, "body_invalid", "/messages"),
        ((Turn("user", ""),), {}, "body_invalid", "/messages/0/content"),
        ((Turn("user", "a"),) * 1001, {}, "body_invalid", "/messages"),
        ((Turn("user", "a"), Turn("user", "ü" * 600)), {}, "prompt_too_large", "/messages/1"),
        ((Turn("user", "a"),), {"model": "other"}, "model_unknown", "/model"),
    ],
)
async def test_a_request_is_refused_before_anything_begins(
    turns: tuple[Turn, ...], asked: dict[str, object], code: str, pointer: str
) -> None:
    async with open_studio(Upstream().provider, max_prompt=1000) as studio:
        with pytest.raises(RequestError) as refused:
            studio.generations.request(turns, **asked)  # type: ignore[arg-type]
        assert (refused.value.code, refused.value.pointer) == (code, pointer)
        assert len(studio.generations) == 0


async def test_what_has_ended_is_kept_for_its_time_and_then_gone(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream("a").provider, kept_seconds=100.0) as studio:
        generation = studio.start()
        await generation.wait_over()
        await trio.sleep(99)
        assert studio.generations.find(generation.id).text == "a"
        await trio.sleep(2)
        with pytest.raises(GenerationUnknownError) as unknown:
            studio.generations.find(generation.id)
        assert unknown.value.gone
        assert studio.services.hub.history_bytes == 0


@pytest.mark.parametrize("limits", [{"kept": 2}, {"kept_bytes": 2600}])
async def test_the_oldest_that_is_kept_makes_room(autojump_clock: MockClock, limits: dict[str, int]) -> None:
    async with open_studio(Upstream("a").provider, **limits) as studio:
        started = []
        for _ in range(5):
            started.append(studio.start())
            await started[-1].wait_over()
        await wait_all_tasks_blocked()
        kept = [generation for generation in started if not generation.is_erased]
        assert kept == started[3:]
        assert len(studio.generations) == 2
        assert studio.services.hub.history_bytes == sum(generation.size for generation in kept)
        with pytest.raises(GenerationUnknownError):
            studio.generations.find(started[0].id)


async def test_a_drain_lets_answers_become_whole_and_ends_the_rest_in_time(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream(*words(100, 1.0)).provider, drain_seconds=25.0) as studio:
        long = studio.start()
        viewer = studio.view(long, wire := TextWire())
        await trio.sleep(85.5)
        almost = studio.start(max_tokens=10)
        also = studio.view(almost, TextWire())
        await trio.sleep(1)
        studio.services.gate.close()
        for stream in list(studio.services.registry.streams.values()):
            stream.end(CloseReason.SERVER_DRAINING)
        late = studio.start()
        cut = studio.view(late, cut_wire := TextWire())
        for each in (viewer, also, cut):
            await each.ended.wait()
        assert (long.state, almost.state) == (State.DONE, State.DONE)
        assert wire.text == joined(words(100))
        assert (late.state, late.reason) == (State.FAILED, "server_draining")
        assert cut_wire.names[-1] == "error"
        assert studio.closed == {CloseReason.COMPLETED: 2, CloseReason.FAILED: 1}


async def test_what_runs_when_the_service_ends_fails_and_is_closed(autojump_clock: MockClock) -> None:
    upstream = Upstream("a", 1000.0)
    async with open_studio(upstream.provider) as studio:
        generation = studio.start()
        await wait_all_tasks_blocked()
    assert (generation.state, generation.reason) == (State.FAILED, "server_draining")
    assert upstream.closed == 1


async def test_a_form_without_comments_has_no_heartbeat(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream("a", 50.0, "b").provider) as studio:
        generation = studio.start()
        viewer = studio.view(generation, wire := BytesWire(), format="text")
        await viewer.ended.wait()
        assert wire.data == b"ab"

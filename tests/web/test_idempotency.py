"""Idempotency keys: a request sent again has its answer again, and no second effect."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given
from trio.testing import MockClock, wait_all_tasks_blocked

from server.hub import Draft, MemoryBroker, Message
from server.settings import Settings
from server.web.answers import Answer, json_answer
from server.web.idempotency import (
    KEY_OVERHEAD,
    IdempotencyKeys,
    IdempotencyLimits,
    KeyedRequest,
    KeyScope,
)
from server.wire.problem import ProblemError
from tests.support.cancel import cancel_at_each_step
from tests.support.http_peer import Answer as Answered
from tests.support.http_peer import World, open_world

ROOM_FOR_ONE = KEY_OVERHEAD + 100


def request(key: str = "k", body: bytes = b"body") -> KeyedRequest:
    return KeyedRequest(KeyScope("POST", "/topics/a", "", key), body)


def open_keys(seconds: float = 300.0, keys: int = 10, size: int = 10**6) -> IdempotencyKeys:
    return IdempotencyKeys(IdempotencyLimits(seconds, keys, size))


@dataclass
class Work:
    """What a route does: it waits to be let go, then has its effect, which is to count."""

    go: trio.Event = field(default_factory=trio.Event)
    failure: Exception | None = None
    started: int = 0
    done: int = 0

    async def __call__(self) -> Answer:
        self.started += 1
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        self.done += 1
        return json_answer({"n": self.done}, 201, Location=f"/{self.done}")


def ready(failure: Exception | None = None) -> Work:
    work = Work(failure=failure)
    work.go.set()
    return work


async def code_of(awaitable: Awaitable[object]) -> str:
    """The code of the problem that comes of it."""
    with pytest.raises(ProblemError) as raised:
        await awaitable
    return raised.value.problem.code


# The store


async def test_the_second_gets_the_answer_of_the_first() -> None:
    keys, work = open_keys(), ready()
    answers = [await keys.answer(request(), work) for _ in range(3)]
    assert work.done == 1
    assert answers == [Answer(201, b'{"n":1}', (("Location", "/1"),))] * 3


async def test_without_a_key_each_is_a_request_of_its_own() -> None:
    keys, work = open_keys(), ready()
    for _ in range(3):
        await keys.answer(None, work)
    assert (work.done, len(keys), keys.size) == (3, 0, 0)


@pytest.mark.parametrize(
    "other",
    [
        KeyScope("PUT", "/topics/a", "", "k"),
        KeyScope("POST", "/topics/b", "", "k"),
        KeyScope("POST", "/topics/a", "somebody", "k"),
        KeyScope("POST", "/topics/a", "", "K"),
    ],
)
async def test_a_key_counts_for_method_path_and_principal(other: KeyScope) -> None:
    keys, work = open_keys(), ready()
    await keys.answer(request(), work)
    await keys.answer(KeyedRequest(other, b"another body"), work)
    assert work.done == 2


async def test_the_key_with_another_body_is_refused_while_at_work_and_after(
    autojump_clock: MockClock,
) -> None:
    keys, work = open_keys(), Work()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.answer, request(), work)
        await wait_all_tasks_blocked()
        assert await code_of(keys.answer(request(body=b"other"), work)) == "idempotency_key_reused"
        work.go.set()
    assert await code_of(keys.answer(request(body=b"other"), work)) == "idempotency_key_reused"
    assert work.started == 1


async def test_who_comes_while_the_first_is_at_work_waits_for_its_answer(autojump_clock: MockClock) -> None:
    keys, work = open_keys(), Work()
    answers = []

    async def ask() -> None:
        answers.append(await keys.answer(request(), work))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await trio.sleep(100)
        assert answers == []
        work.go.set()
    assert len(answers) == 5
    assert (len(set(answers)), work.started, work.done) == (1, 1, 1)


@pytest.mark.parametrize("failure", [ProblemError("topics_full", "no room"), RuntimeError()])
async def test_a_failure_is_not_remembered_and_the_next_in_line_takes_over(
    autojump_clock: MockClock, failure: Exception
) -> None:
    keys, bad, good = open_keys(), Work(failure=failure), ready()
    answers = []

    async def ask() -> None:
        answers.append(await keys.answer(request(), good))

    async def fail() -> None:
        with pytest.raises(type(failure)):
            await keys.answer(request(), bad)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        await wait_all_tasks_blocked()
        for _ in range(3):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        bad.go.set()
    assert len(answers) == 3
    assert (bad.started, bad.done, good.done) == (1, 0, 1)


async def test_when_the_first_is_cancelled_one_who_waits_takes_over(autojump_clock: MockClock) -> None:
    keys, work = open_keys(), Work()
    answers = []

    async def ask() -> None:
        answers.append(await keys.answer(request(), work))

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as doomed:
            doomed.start_soon(ask)
            await wait_all_tasks_blocked()
            for _ in range(2):
                nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            doomed.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        assert work.started == 2
        work.go.set()
    assert len(answers) == 2
    assert (work.started, work.done) == (2, 1)


async def test_one_who_waits_and_is_cancelled_leaves_the_others_alone(autojump_clock: MockClock) -> None:
    keys, work = open_keys(), Work()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.answer, request(), work)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await keys.answer(request(), work)
        assert scope.cancelled_caught
        work.go.set()
    assert (await keys.answer(request(), work)).body == b'{"n":1}'
    assert work.started == 1


async def test_cancelled_at_whatever_step_there_is_at_most_one_effect_and_nothing_stays_at_work() -> None:
    keys = open_keys(keys=10**6, size=10**9)
    step = 0
    done = 0

    async def perform() -> Answer:
        nonlocal done
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        done += 1
        await trio.lowlevel.cancel_shielded_checkpoint()
        return json_answer(step, 201)

    async def two_at_once() -> None:
        nonlocal step, done
        step, done = step + 1, 0
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(keys.answer, request(str(step)), perform)

    async def at_most_once(_: int) -> None:
        assert done <= 1
        assert keys._running == {}
        answer = await keys.answer(request(str(step)), perform)
        assert answer.body == str(step).encode()
        assert done == 1

    assert await cancel_at_each_step(two_at_once, after=at_most_once) > 8


async def test_an_answer_is_given_again_for_its_time_from_when_the_work_was_done(
    autojump_clock: MockClock,
) -> None:
    keys, work = open_keys(seconds=30), Work()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.answer, request(), work)
        await trio.sleep(100)
        work.go.set()
    await trio.sleep(29.5)
    await keys.answer(request(), work)
    assert work.done == 1
    await trio.sleep(0.5)
    await keys.answer(request(body=b"another"), work)
    assert work.done == 2


async def test_the_oldest_finished_key_makes_room() -> None:
    keys, work = open_keys(keys=3), ready()
    for key in ("a", "b", "c", "a", "d"):
        await keys.answer(request(key), work)
    assert (work.done, len(keys)) == (4, 3)
    for key in ("b", "c", "d"):
        await keys.answer(request(key), work)
    assert work.done == 4
    await keys.answer(request("a"), work)
    assert work.done == 5


async def test_where_every_key_is_at_work_a_new_one_is_refused_and_a_known_one_is_not(
    autojump_clock: MockClock,
) -> None:
    keys, work = open_keys(keys=2), Work()
    async with trio.open_nursery() as nursery:
        for key in ("a", "b", "a"):
            nursery.start_soon(keys.answer, request(key), work)
        await wait_all_tasks_blocked()
        assert await code_of(keys.answer(request("c"), work)) == "idempotency_keys_full"
        work.go.set()
    await keys.answer(request("c"), work)
    assert (work.started, work.done) == (3, 3)


async def test_answers_are_bounded_in_bytes_too() -> None:
    keys = open_keys(size=3 * ROOM_FOR_ONE)
    done = []

    def performing(key: str, length: int) -> Callable[[], Awaitable[Answer]]:
        async def perform() -> Answer:
            await trio.lowlevel.checkpoint()
            done.append(key)
            return json_answer("x" * length)

        return perform

    for key, length in (("a", 10), ("b", 10), ("c", 10), ("d", 10), ("b", 10), ("e", 2 * ROOM_FOR_ONE)):
        await keys.answer(request(key), performing(key, length))
        assert keys.size <= 3 * ROOM_FOR_ONE
    # `a` made room for `d`; the long answer was too much beside anything else.
    assert "".join(done) == "abcde"
    assert len(keys) <= 1
    await keys.answer(request("f"), performing("f", 4 * ROOM_FOR_ONE))
    assert (len(keys), keys.size) == (0, 0)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from("abcde"), st.sampled_from("xy")),
        st.tuples(st.just("fail"), st.sampled_from("abcde"), st.just("x")),
        st.tuples(st.just("cancel"), st.sampled_from("abcde"), st.just("x")),
        st.tuples(st.just("wait"), st.sampled_from(["1", "40", "101"]), st.just("")),
    ),
    max_size=30,
)


@given(OPERATIONS)
def test_it_does_what_a_list_of_answers_would(operations: list[tuple[str, str, str]]) -> None:
    trio.run(compare_with_a_list, operations, clock=MockClock(autojump_threshold=0))


async def compare_with_a_list(operations: list[tuple[str, str, str]]) -> None:
    keys = open_keys(seconds=100, keys=3)
    # Key, body, answer, expiry; the oldest first.
    model: list[tuple[str, str, bytes, float]] = []
    effects = 0

    async def perform() -> Answer:
        nonlocal effects
        await trio.lowlevel.checkpoint()
        effects += 1
        return json_answer(effects)

    for what, key, body in operations:
        if what == "wait":
            await trio.sleep(float(key))
            continue
        model = [entry for entry in model if entry[3] > trio.current_time()]
        known = next((entry for entry in model if entry[0] == key), None)
        expected = effects
        asked = request(key, body.encode())
        if known is None:
            # Whatever comes of a new key, it has made room first.
            model = model[-2:]
        if known is not None and known[1] != body:
            assert await code_of(keys.answer(asked, perform)) == "idempotency_key_reused"
        elif known is not None:
            assert (await keys.answer(asked, perform)).body == known[2]
        elif what == "ask":
            answer = await keys.answer(asked, perform)
            expected += 1
            model.append((key, body, answer.body, trio.current_time() + 100))
        elif what == "fail":
            assert await code_of(keys.answer(asked, ready(ProblemError("topics_full", "")))) == "topics_full"
        else:
            with trio.CancelScope() as scope:
                scope.cancel()
                await keys.answer(asked, perform)
        assert effects == expected
        assert [scope.key for scope in keys._finished] == [entry[0] for entry in model]


# Over HTTP


async def post(
    world: World, key: str | None, target: str = "/topics/news", **body: object
) -> tuple[int, object]:
    headers = {} if key is None else {"idempotency_key": key}
    answer = await world.request("POST", target, b"", json_body={"data": 1, **body}, **headers)
    return answer.status, answer.json()


async def test_a_publish_that_is_sent_again_is_published_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        first = await post(world, "k")
        assert first[0] == 201
        assert await post(world, "k") == first
        assert world.application.events.hub.published == 1
        await post(world, "another")
        await post(world, None)
        assert world.application.events.hub.published == 3


async def test_the_answer_stays_the_same_when_the_topic_does_not(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        first = await world.request("POST", "/topics/news", json_body={"data": 1}, idempotency_key="k")
        events = await world.connect().open_events("/topics/news/events")
        await events.next()
        again = await world.request("POST", "/topics/news", json_body={"data": 1}, idempotency_key="k")
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers.keys() == first.headers.keys()


@pytest.mark.parametrize(
    ("target", "type", "body"),
    [
        ("/topics/a", "text/plain", b"text"),
        ("/topics/a", "application/x-ndjson", b'{"data":1}\n{"data":2}'),
        ("/topics", "application/x-ndjson", b'{"data":1,"topic":"a"}\n{"data":2,"topic":"b"}'),
        ("/rooms/a", "application/json", b'{"data":1,"label":"monitor"}'),
    ],
)
async def test_every_form_of_publishing_takes_a_key(
    autojump_clock: MockClock, target: str, type: str, body: bytes
) -> None:
    async with open_world() as world:
        first = await world.request("POST", target, body, content_type=type, idempotency_key="k")
        published = world.application.events.hub.published
        again = await world.request("POST", target, body, content_type=type, idempotency_key="k")
        assert first.status == 201
        assert (again.status, again.body) == (201, first.body)
        assert world.application.events.hub.published == published
        other = await world.request("POST", target, body + b"\n", content_type=type, idempotency_key="k")
        assert other.problem == (422, "idempotency_key_reused")


async def test_a_key_in_the_body_is_the_same_as_in_the_header(autojump_clock: MockClock) -> None:
    for target in ("/topics/a", "/rooms/a"):
        async with open_world() as world:
            first = await post(world, None, target, idempotency_key="k")
            assert await post(world, None, target, idempotency_key="k") == first
            assert await post(world, "k", target, idempotency_key="k") == first
            assert await post(world, '"k"', target, idempotency_key="k") == first
            assert world.application.events.hub.published == 1
            status, problem = await post(world, "other", target, idempotency_key="k")
            assert status == 422
            assert isinstance(problem, dict)
            assert problem["code"] == "body_invalid"
            assert problem["errors"][0]["pointer"] == "/idempotency_key"


@pytest.mark.parametrize("key", ["", "a b", "a\n", "ü", "x" * 256, 7])
async def test_a_key_in_the_body_that_is_none_is_pointed_at(autojump_clock: MockClock, key: object) -> None:
    async with open_world() as world:
        status, problem = await post(world, None, idempotency_key=key)
        assert status == 422
        assert isinstance(problem, dict)
        assert [fault["pointer"] for fault in problem["errors"]] == ["/idempotency_key"]
        assert world.application.events.hub.published == 0


@pytest.mark.parametrize(
    "key", ["a", "x" * 255, "!~", 'a"b', "8e03978e-40d5-43dd-bc93-6894a57f9324", "a,b;c=1"]
)
async def test_a_key_may_be_quoted_as_the_draft_has_it(autojump_clock: MockClock, key: str) -> None:
    async with open_world() as world:
        quoted = '"' + key.replace('"', '\\"') + '"'
        assert await post(world, quoted) == await post(world, key)
        assert world.application.events.hub.published == 1


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        "a b",
        "x" * 256,
        "ü".encode().decode("latin-1"),
        '"',
        '"a',
        '"a"b',
        '""',
        '"a b"',
        '"a\\b"',
        "a\tb",
    ],
)
async def test_a_key_that_is_none_is_refused_before_anything_is_published(
    autojump_clock: MockClock, key: str
) -> None:
    async with open_world() as world:
        head = (
            f"POST /topics/news HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n"
            f"Content-Type: text/plain\r\nIdempotency-Key: {key}\r\n\r\nx"
        )
        answer = await world.connect().exchange(head.encode("latin-1"))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "idempotency_key_invalid"
        assert world.application.events.hub.published == 0


async def test_two_keys_are_refused(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        head = (
            b"POST /topics/news HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n"
            b"Content-Type: text/plain\r\nIdempotency-Key: a\r\nIdempotency-Key: a\r\n\r\nx"
        )
        assert b"idempotency_key_invalid" in await world.connect().exchange(head)


async def test_a_request_that_was_refused_is_not_remembered(autojump_clock: MockClock) -> None:
    async with open_world() as world:

        async def send(body: bytes) -> Answered:
            ndjson = "application/x-ndjson"
            return await world.request("POST", "/topics/news", body, content_type=ndjson, idempotency_key="k")

        assert (await send(b'{"data":1}\n{')).problem == (400, "json_malformed")
        assert (await send(b'{"data":1}\n')).status == 201


async def test_without_room_for_a_topic_a_key_is_not_used_up(autojump_clock: MockClock) -> None:
    async with open_world(Settings(max_topics=1, history_seconds=10)) as world:
        await world.publish("news", 1)
        assert (await post(world, "k", "/topics/more"))[0] == 503
        await trio.sleep(20)
        assert (await post(world, "k", "/topics/more"))[0] == 201


async def test_a_key_written_in_another_way_in_the_path_is_the_same(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert await post(world, "k", "/topics/news") == await post(world, "k", "/topics/n%65ws")
        assert world.application.events.hub.published == 1


async def test_the_setting_says_for_how_long(autojump_clock: MockClock) -> None:
    async with open_world(Settings(idempotency_seconds=10)) as world:
        first = await post(world, "k")
        await trio.sleep(9)
        assert await post(world, "k") == first
        await trio.sleep(2)
        assert await post(world, "k") != first


async def test_a_retry_waits_for_a_store_that_takes_its_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = MemoryBroker.publish

    async def slow(broker: MemoryBroker, drafts: list[Draft]) -> list[Message]:
        await trio.sleep(60)
        return await publish(broker, drafts)

    monkeypatch.setattr(MemoryBroker, "publish", slow)
    async with open_world() as world:
        answers = []

        async def ask() -> None:
            answers.append(await post(world, "k"))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert trio.current_time() == 60
        assert len(answers) == 3
        assert answers[0] == answers[1] == answers[2]
        assert world.application.events.hub.published == 1


async def test_keys_count_against_the_ceiling(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.publish("news", 1)
        before = (await world.stats())["buffered_bytes"]
        await post(world, "k")
        message = world.application.events.hub.history_bytes // 2
        assert (await world.stats())["buffered_bytes"] > before + message + KEY_OVERHEAD


@pytest.mark.parametrize("target", ["/topics/news", "/rooms/lobby"])
async def test_where_all_keys_are_at_work_a_new_one_is_told_to_come_back(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    publish = MemoryBroker.publish

    async def slow(broker: MemoryBroker, drafts: list[Draft]) -> list[Message]:
        await trio.sleep(60)
        return await publish(broker, drafts)

    monkeypatch.setattr(MemoryBroker, "publish", slow)
    async with open_world(Settings(idempotency_keys=1)) as world, trio.open_nursery() as nursery:
        nursery.start_soon(post, world, "k", target)
        await wait_all_tasks_blocked()
        answer = await world.request("POST", target, json_body={"data": 1}, idempotency_key="l")
        assert answer.problem == (503, "idempotency_keys_full")
        assert answer.headers["retry-after"] == "5"

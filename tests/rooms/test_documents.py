"""Documents: editors in virtual time, from their first message to the close code that ends them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import pycrdt
import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import CloseReason
from server.rooms.documents import DocumentLimits
from server.rooms.documents.editing import Editing
from server.wire.y_protocol import (
    NOTHING,
    Awareness,
    AwarenessEntry,
    SyncStep1,
    SyncStep2,
    Update,
    encode_awareness,
    encode_step_1,
    encode_step_2,
    encode_update,
    number,
)
from tests.support.cancel import cancel_at_each_step
from tests.support.frames import Close
from tests.support.memory_connection import MemoryConnection, memory_connection
from tests.support.study import HEAD, Study, Writer, hear, hear_close, open_study


async def test_what_one_writes_the_others_have_and_who_comes_late(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        await ada.write("hello")
        await ben.hear_text("hello")
        await ben.write(" you")
        await ada.hear_text("hello you")
        late = await study.join()
        assert str(late.text) == "hello you"
        assert late.doc.get_state() == ada.doc.get_state() == ben.doc.get_state()


async def test_an_update_goes_to_the_others_as_it_came_and_not_back(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        update = ada.edit("x")
        await ada.peer.send(encode_update(update))
        assert await hear(ben.peer) == Update(update)
        await ada.peer.send(b"\x03")
        assert await hear(ada.peer) == Awareness(())


async def test_what_was_edited_offline_is_asked_for_and_passed_on(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ben = await study.join()
        doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
        doc["text"] = pycrdt.Text("from the train")
        await study.join(doc=doc)
        await ben.hear_text("from the train")


async def test_who_comes_back_with_nothing_new_is_not_passed_on_or_kept_again(
    autojump_clock: MockClock,
) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        await ada.write("hello")
        del ada.text[0:2]
        await ada.peer.send(encode_update(ada.doc.get_update()))
        await ben.hear_text("llo")
        document = study.documents._documents["paper"]
        document.settle()
        size = document.size
        await ada.peer.close()
        again = await study.join(doc=ada.doc)
        assert document.size == size
        await again.write("!")
        # The next that is heard, with no deletions told anew before it.
        assert isinstance(await ben.hear(), Update)
        assert str(ben.text) == "llo!"


async def test_documents_do_not_mix(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada, ben = await study.join("one"), await study.join("two")
        await ada.write("one")
        await ben.write("two")
        assert str((await study.join("one")).text) == "one"
        assert [info.document for info in await study.documents.infos("", 10)] == ["one", "two"]


async def test_awareness_goes_to_all_the_sender_too_and_to_who_comes(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        await ada.show(1, '{"name":"Ada"}')
        mine = Awareness((AwarenessEntry(ada.doc.client_id, 1, '{"name":"Ada"}'),))
        assert await hear(ada.peer) == await hear(ben.peer) == mine
        late = study.enter()
        assert isinstance(await hear(late.peer), SyncStep1)
        assert await hear(late.peer) == mine


@pytest.mark.parametrize("how", ["close", "vanish"])
async def test_who_is_gone_is_told_to_be_gone(how: str, autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        await ada.show(3)
        await ben.hear()
        if how == "close":
            await ada.peer.close(1001)
        else:
            ada.peer.vanish()
        assert await hear(ben.peer) == Awareness((AwarenessEntry(ada.doc.client_id, 4, NOTHING),))
        assert study.documents._documents["paper"].awareness.size == 0


async def test_an_echo_of_others_makes_nobody_speak_for_them(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        await ada.show(3)
        await ben.hear()
        await ben.show(3, client=ada.doc.client_id)
        await ben.peer.close()
        await ben.ended.wait()
        entries = study.documents._documents["paper"].awareness.entries
        assert [entry.client for entry in entries] == [ada.doc.client_id]


async def test_who_comes_back_with_its_old_clock_is_told_to_raise_it(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        await ada.show(3)
        ada.peer.vanish()
        await ada.ended.wait()
        again = await study.join(doc=ada.doc)
        await again.show(3)
        assert await hear(again.peer) == Awareness((AwarenessEntry(ada.doc.client_id, 4, NOTHING),))
        await again.show(5)
        while ben.others.get(ada.doc.client_id) != "{}":
            await ben.hear()


async def test_silence_is_broken_for_providers_that_would_give_up(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada = await study.join()
        last = trio.current_time()
        for _ in range(5):
            assert await hear(ada.peer) == Awareness(())
            assert trio.current_time() - last < 30
            last = trio.current_time()


async def test_a_missed_pong_ends_with_a_code_that_a_provider_comes_back_after(
    autojump_clock: MockClock,
) -> None:
    async with open_study() as study:
        ada = await study.join()
        ada.peer.answers = False
        assert await hear_close(ada.peer) == Close(4508, "heartbeat_missed")
        await ada.ended.wait()
        assert study.closed == {CloseReason.HEARTBEAT_MISSED: 1}


async def test_a_drain_says_1012_after_what_was_written_before(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        await ada.write("last words")
        await trio.testing.wait_all_tasks_blocked()
        study.services.gate.close()
        for stream in list(study.services.registry.streams.values()):
            stream.end(CloseReason.SERVER_DRAINING)
        await ben.hear_text("last words")
        for writer in (ada, ben):
            assert await hear_close(writer.peer) == Close(1012, "server_draining")
            await writer.ended.wait()
        assert study.closed == {CloseReason.SERVER_DRAINING: 2}


@pytest.mark.parametrize(
    ("reason", "code", "words"),
    [
        (CloseReason.ADMIN, 4403, "admin"),
        (CloseReason.COMPLETED, 1000, "completed"),
        (CloseReason.FAILED, 1011, "server_failed"),
        (CloseReason.LIMIT, 1013, "limit"),
    ],
)
async def test_every_end_by_the_server_has_its_code(
    reason: CloseReason, code: int, words: str, autojump_clock: MockClock
) -> None:
    async with open_study() as study:
        ada = await study.join()
        list(study.services.registry.streams.values())[-1].end(reason)
        assert await hear_close(ada.peer) == Close(code, words)
        await ada.ended.wait()
        assert study.closed == {reason: 1}


async def test_an_answer_that_is_being_read_is_finished_before_a_drains_goodbye(
    autojump_clock: MockClock,
) -> None:
    async with open_study() as study:
        ada = await study.join()
        await ada.write("x" * 100_000)
        await trio.testing.wait_all_tasks_blocked()
        slow = study.enter(buffer=1000)
        assert isinstance(await hear(slow.peer), SyncStep1)
        await slow.peer.send(encode_step_1(b"\0"))
        await trio.testing.wait_all_tasks_blocked()
        list(study.services.registry.streams.values())[-1].end(CloseReason.SERVER_DRAINING)
        await trio.testing.wait_all_tasks_blocked()
        answer = await hear(slow.peer)
        assert isinstance(answer, SyncStep2)
        slow.doc.apply_update(answer.update)
        assert len(str(slow.text)) == 100_000
        assert await hear_close(slow.peer) == Close(1012, "server_draining")


async def test_a_slow_editor_delays_nobody_and_has_it_all_when_it_comes_back(
    autojump_clock: MockClock,
) -> None:
    async with open_study(capacity=20) as study:
        ada, ben = await study.join_two()
        slow = await study.join(buffer=200)
        slow.peer.stall()
        for number in range(60):
            await ada.write(f"{number} ")
            await ben.hear()
        slow.peer.resume()
        assert await hear_close(slow.peer) == Close(4513, "slow_consumer")
        await slow.ended.wait()
        again = await study.join(doc=slow.doc)
        assert str(again.text) == str(ada.text) == str(ben.text)
        assert study.closed == {CloseReason.SLOW_CONSUMER: 1}


async def test_one_who_takes_nothing_is_gone_by_the_write_deadline(autojump_clock: MockClock) -> None:
    async with open_study(write_deadline=5.0) as study:
        ada = await study.join()
        await ada.write("x" * 100_000)
        stalled = study.enter(buffer=1000)
        await stalled.peer.send(encode_step_1(b"\0"))
        stalled.peer.stall()
        await stalled.ended.wait()
        assert study.closed == {CloseReason.SLOW_CONSUMER: 1}
        await ada.write("!")


async def test_answers_to_one_who_asks_again_and_again_are_a_second_apart(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada = await study.join()
        began = trio.current_time()
        for _ in range(5):
            await ada.peer.send(encode_step_1(ada.doc.get_state()))
        for _ in range(5):
            assert isinstance(await hear(ada.peer), SyncStep2)
        assert trio.current_time() - began >= 4


BAD: dict[str, tuple[str | bytes, str]] = {
    "text": ("hello", "binary_expected"),
    "nothing": (b"", "message_malformed"),
    "half a message": (b"\x00\x02\x09ab", "message_malformed"),
    "no update": (encode_update(b"nonsense"), "update_malformed"),
    "no update, as an answer": (encode_step_2(b"\xff\xff\xff"), "update_malformed"),
    "no state": (encode_step_1(b"\xff"), "state_malformed"),
    "no JSON": (b"\x01\x05\x01\x07\x01\x01{", "message_malformed"),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_cannot_be_used_ends_its_sender_for_good_and_harms_nobody(
    case: str, autojump_clock: MockClock
) -> None:
    data, words = BAD[case]
    async with open_study() as study:
        ada, bad = await study.join_two()
        await ada.write("unharmed")
        await bad.peer.send(data)
        assert await hear_close(bad.peer) == Close(4400, words)
        await bad.ended.wait()
        await ada.write("!")
        assert str((await study.join()).text) == "unharmed!"
        assert study.closed == {CloseReason.LIMIT: 1}


async def test_a_million_levels_end_their_sender_alone() -> None:
    # By the real clock, since a thread looks at it: virtual time would run on meanwhile.
    async with open_study() as study:
        ada, bad = await study.join_two()
        levels = b"\x01\x01\x07\x00\x08\x01\x01t\x01" + b"\x75\x01" * 1_000_000 + b"\x7e\x00"
        await bad.peer.send(encode_update(levels))
        assert await hear_close(bad.peer) == Close(4400, "update_malformed")
        await ada.write("on")
        assert str((await study.join()).text) == "on"


async def test_a_message_of_an_extension_is_passed_over(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        await ada.peer.send(b"\x64hello")
        await ada.peer.send(b"\x02\x00\x01x")
        await ada.write("on")
        await ben.hear_text("on")


async def test_a_document_grows_no_larger_than_it_may(autojump_clock: MockClock) -> None:
    async with open_study(limits=DocumentLimits(document_bytes=10_000)) as study:
        ada, ben = await study.join_two()
        await ada.write("x" * 6000)
        await ben.hear_text("x" * 6000)
        await ada.write("y" * 6000)
        assert await hear_close(ada.peer) == Close(4422, "document_too_large")
        await ben.write("z")
        assert str((await study.join()).text) == "x" * 6000 + "z"


async def test_editing_in_small_steps_reaches_the_limit_by_content_alone(autojump_clock: MockClock) -> None:
    async with open_study(limits=DocumentLimits(document_bytes=20_000)) as study:
        ada = await study.join()
        for _ in range(500):
            await ada.write("x")
        await trio.testing.wait_all_tasks_blocked()
        assert str((await study.join()).text) == "x" * 500


async def test_too_much_awareness_ends_its_sender(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        await ada.show(1, '"' + "x" * 64 * 1024 + '"')
        assert await hear_close(ada.peer) == Close(4422, "awareness_too_large")
        await ben.show(1)
        await ben.hear()


async def test_who_tells_of_too_many_is_ended_before_they_are_read(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada = await study.join()
        # As many as fit into a message; to read them all would take seconds.
        crowd = number(1_000_000) + (number(7) + number(1) + b"\x011") * 1_000_000
        await ada.peer.send(b"\x01" + number(len(crowd)) + crowd)
        assert await hear_close(ada.peer) == Close(4422, "awareness_too_large")


async def test_who_leaves_no_room_for_others_is_ended_and_leaves_no_ghosts(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        await ben.show(1)
        assert isinstance(await ada.hear(), Awareness)
        state = '"' + "x" * 60_000 + '"'
        await ada.peer.send(encode_awareness([AwarenessEntry(client, 1, state) for client in range(100)]))
        assert await hear_close(ada.peer) == Close(1013, "awareness_full")
        await ada.ended.wait()
        # What it had told of is gone with it: there is room again, and who comes sees who is here.
        assert len((await study.join()).others) == 1


async def test_documents_are_bounded_in_number_and_the_oldest_unused_goes(autojump_clock: MockClock) -> None:
    async with open_study(limits=DocumentLimits(documents=2)) as study:
        for name in ("first", "second"):
            writer = await study.join(name)
            await writer.write(name)
            await writer.peer.close()
            await writer.ended.wait()
        third = await study.join("third")
        assert sorted(study.documents._documents) == ["second", "third"]
        second = await study.join("second")
        assert str(second.text) == "second"
        refused = study.enter("fourth")
        assert await hear_close(refused.peer) == Close(1013, "documents_full")
        await third.write("goes on")


async def test_documents_are_bounded_in_bytes(autojump_clock: MockClock) -> None:
    async with open_study(limits=DocumentLimits(bytes=10_000)) as study:
        old = await study.join("old")
        await old.write("x" * 6000)
        await old.peer.close()
        await old.ended.wait()
        new, other = await study.join("new"), await study.join("other")
        await new.write("y" * 6000)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(study.documents._documents) == ["new", "other"]
        await other.write("z" * 6000)
        assert await hear_close(other.peer) == Close(1013, "documents_full")
        assert study.documents.size < 10_000


async def test_editors_are_bounded_in_number(autojump_clock: MockClock) -> None:
    async with open_study(limits=DocumentLimits(editors=2)) as study:
        ada, _ben = await study.join_two()
        third = study.enter()
        assert await hear_close(third.peer) == Close(1013, "documents_full")
        await ada.peer.close()
        await ada.ended.wait()
        await study.join()


async def test_a_document_that_nobody_wrote_into_is_not_kept(autojump_clock: MockClock) -> None:
    async with open_study() as study:
        ada = await study.join()
        assert await study.documents.info("paper") == ("paper", 1, 0)
        await ada.peer.close()
        await ada.ended.wait()
        assert study.documents.in_memory == 0
        assert await study.documents.info("paper") is None


async def test_a_failure_ends_its_editor_with_1011_and_nobody_else(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_study() as study:
        ada, ben = await study.join_two()
        document = study.documents._documents["paper"]
        monkeypatch.setattr(document, "hear", None)
        with caplog.at_level(logging.ERROR, "sluiceway"):
            await ada.show(1)
            assert await hear_close(ada.peer) == Close(1011, "server_failed")
        await ben.write("on")
        assert str((await study.join()).text) == "on"


Play = Callable[[Writer, Writer], Awaitable[None]]


async def come(me: Writer, other: Writer) -> None:
    assert isinstance(await me.hear(), SyncStep1)


async def catch_up(me: Writer, other: Writer) -> None:
    await me.catch_up()


async def write(me: Writer, other: Writer) -> None:
    await me.catch_up()
    await me.write("mine")
    await trio.testing.wait_all_tasks_blocked()


async def be_told(me: Writer, other: Writer) -> None:
    await me.catch_up()
    await other.write("x" * 20)
    while not isinstance(await me.hear(), Update):
        pass


async def show(me: Writer, other: Writer) -> None:
    await me.catch_up()
    await me.show(1)
    await me.hear()


async def send_nonsense(me: Writer, other: Writer) -> None:
    await me.peer.send(b"\x09")
    await me.peer.send(b"")
    await hear_close(me.peer)


@pytest.mark.parametrize("buffer", [500, 64 * 1024], ids=["narrow", "wide"])
@pytest.mark.parametrize(
    "play", [come, catch_up, write, be_told, show, send_nonsense], ids=lambda fn: fn.__name__
)
@pytest.mark.time_limit(100_000)
async def test_an_editor_cancelled_at_any_step_has_left_and_nobody_noticed_more(
    play: Play, buffer: int, autojump_clock: MockClock
) -> None:
    async with open_study() as study:
        other = await study.join()

        async def once() -> None:
            connection, peer = memory_connection(room=buffer)
            doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
            me = Writer(peer, doc, doc.get("text", type=pycrdt.Text))
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stay, study, connection)
                    try:
                        await play(me, other)
                    except (EOFError, trio.BrokenResourceError):
                        pass
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()
            finally:
                peer.vanish()
                connection.cut()

        async def after(step: int) -> None:
            document = study.documents._documents["paper"]
            assert len(document.editors) == document.users == 1
            assert document.reserved == 0
            assert not document.awareness.entries
            assert study.documents.editors == 1
            assert len(study.services.registry.streams) == 1
            assert study.services.registry.leaked == 0
            assert study.services.hub.subscriptions == 1
            other.peer.skip()

        assert await cancel_at_each_step(once, after=after) > 3
        assert CloseReason.FAILED not in study.closed


async def stay(study: Study, connection: MemoryConnection) -> None:
    try:
        await Editing(study.services, HEAD, "paper").run(connection)
    except* trio.BrokenResourceError:
        pass
    finally:
        connection.cut()

"""Whoever publishes, and empties topics."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import trio

from server.hub import BatchTooLargeError, Draft, TopicsFullError

from .script import Post, Purge
from .stage import Life, RefusedError, Stage
from .truth import check
from .wire import HttpClient


class Publisher:
    """Publishes the posts of a script, each at its time, and remembers what it was answered."""

    def __init__(self, stage: Stage, posts: Iterable[tuple[int, Post]]) -> None:
        self._stage = stage
        self._posts = list(posts)
        self._published: dict[str, str] = {}
        self._refused: set[str] = set()

    async def run(self) -> None:
        """Publish all, those at the same time one after another; each gets an answer in its own time."""
        async with trio.open_nursery() as nursery:
            for number, post in sorted(self._posts, key=lambda each: (each[1].at, each[0])):
                await trio.sleep_until(post.at)
                nursery.start_soon(self._publish, number, post)
                # Those at one time are to leave one behind the other.
                await trio.testing.wait_all_tasks_blocked()

    def check(self) -> None:
        """Each message that was answered for is there once, under its id, and none that was refused."""
        found: dict[str, list[str]] = {}
        for truth in self._stage.truths.values():
            for entry in truth.entries:
                found.setdefault(entry.message.data, []).append(str(entry.message.id))
        for data, known in self._published.items():
            check(found.get(data) == [known], "published as", known, "and found as", found.get(data))
        for data in self._refused:
            check(data not in found, "refused, and published:", data)

    async def _publish(self, number: int, post: Post) -> None:
        life = self._stage.life
        if life is None or not life.accepting:
            return
        drafts = [
            Draft(topic, _data(number, place, post), text=post.via == "text")
            for place, topic in enumerate(post.topics)
        ]
        if post.via == "batch":
            await self._publish_batch(life, drafts)
            return
        await self._publish_over_http(life, number, post, drafts)
        if post.repeat and self._stage.life is life:
            await self._publish_over_http(life, number, replace(post, cut=False), drafts)

    async def _publish_batch(self, life: Life, drafts: list[Draft]) -> None:
        try:
            messages = await life.hub.publish(drafts)
        except TopicsFullError:
            check(life.truth.server.forgets, "no room for topics")
        except BatchTooLargeError:
            self._refused.update(draft.data for draft in drafts)
        else:
            self._note(drafts, [str(message.id) for message in messages])

    async def _publish_over_http(self, life: Life, number: int, post: Post, drafts: list[Draft]) -> None:
        try:
            _, line = self._stage.connect(65536)
        except RefusedError:
            return
        client = HttpClient(line.end)
        target, kind, body = _request(post, drafts)
        headers = {"idempotency_key": f"{number}"} if post.repeat else {}
        try:
            await client.send("POST", target, body, content_type=kind, **headers)
            if post.cut:
                await trio.lowlevel.checkpoint()
                return
            answer = await client.answer()
        except trio.BrokenResourceError:
            return
        finally:
            line.end.reset()
        if answer is None:
            check(life.ending, "a publisher got no answer")
            return
        self._take_answer(life, drafts, *answer)

    def _take_answer(self, life: Life, drafts: list[Draft], status: int, text: bytes) -> None:
        answer = json.loads(text)
        if status == 201:
            self._note(drafts, answer["ids"] if "ids" in answer else [answer["id"]])
            return
        full = answer["code"] == "topics_full" and life.truth.server.forgets
        check(full or answer["code"] == "batch_too_large", "a publisher was answered", status, text)
        self._refused.update(draft.data for draft in drafts)

    def _note(self, drafts: list[Draft], ids: list[str]) -> None:
        for draft, known in zip(drafts, ids, strict=True):
            earlier = self._published.setdefault(draft.data, known)
            check(earlier == known, "answered with", earlier, "and with", known)


def _request(post: Post, drafts: list[Draft]) -> tuple[str, str, bytes]:
    """Target, media type and body."""
    first = drafts[0]
    match post.via:
        case "text":
            return f"/topics/{first.topic}", "text/plain", first.data.encode()
        case "ndjson" if len(set(post.topics)) == 1:
            lines = [f'{{"data":{draft.data}}}' for draft in drafts]
            return f"/topics/{first.topic}", "application/x-ndjson", "\n".join(lines).encode()
        case "ndjson":
            lines = [f'{{"topic":"{draft.topic}","data":{draft.data}}}' for draft in drafts]
            return "/topics", "application/x-ndjson", "\n".join(lines).encode()
    return f"/topics/{first.topic}", "application/json", f'{{"data":{first.data}}}'.encode()


def _data(number: int, place: int, post: Post) -> str:
    """Unique, in all of a script."""
    if post.via == "text":
        return f"{number}.{place}\n{'x' * post.size}"
    return json.dumps({"n": f"{number}.{place}", "pad": "x" * post.size}, separators=(",", ":"))


async def run_purges(stage: Stage, purges: Iterable[Purge]) -> None:
    """Empty topics, each at its time."""
    for purge in sorted(purges, key=lambda each: each.at):
        await trio.sleep_until(purge.at)
        try:
            life, line = stage.connect(65536)
        except RefusedError:
            continue
        client = HttpClient(line.end)
        try:
            await client.send("DELETE", f"/topics/{purge.topic}")
            answer = await client.answer()
        except trio.BrokenResourceError:
            answer = None
        line.end.reset()
        check(life.ending or (answer is not None and answer[0] in (204, 404)), "purge answered", answer)

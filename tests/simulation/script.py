"""The script of a simulation: everything that will happen, as values, made from a seed.

A script is a server's settings and a list of numbered pieces.  Each piece stands for itself, so that a
failing script is made smaller by leaving pieces out (`Script.without`), and what is random within a piece
(sizes of reads, say) depends on the seed and its own number alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from random import Random

from server.hub import HistoryLimits, HubLimits, Overflow, ReplayLimits, TopicRules
from server.rooms import ROOM_TOPIC_PREFIX

TOPICS = ("a", "b", "a.x", "a.y", "b.z")
ENTRIES = (*TOPICS, "a*", "a*", "a.*", "b*", "*", "*")
ROOMS = ("hall", "attic")


@dataclass(frozen=True, slots=True)
class Server:
    """The server's settings.  Times in seconds."""

    rules: dict[str, TopicRules]
    """Of the topics named; `default` holds for all others."""
    default: TopicRules
    hub: HubLimits
    replay: ReplayLimits
    heartbeat: float = 15.0
    drain_seconds: float = 10.0
    drain_notice: float = 0.0

    @property
    def write_deadline(self) -> float:
        """After which a reader that takes nothing is gone."""
        return self.hub.block_seconds

    @property
    def forgets(self) -> bool:
        """Whether there are more topics than it has room for, so that unused ones are forgotten."""
        return self.hub.max_topics < len(TOPICS) + len(ROOMS) + 1

    def rules_of(self, topic: str) -> TopicRules:
        """The rules of `topic`."""
        if topic == "stats":
            # As the application has it, whatever an operator says.
            return replace(self.default, overflow=Overflow.LATEST)
        return self.rules.get(topic, self.default)


@dataclass(frozen=True, slots=True)
class Reader:
    """How a client reads: at most `chunk` bytes at once, `pause` seconds between two reads, and stalls.

    A stall is (after how many bytes of the connection, for how many seconds).
    """

    chunk: int = 65536
    pause: float = 0.0
    stalls: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Visit:
    """One connection of an event stream's client: when it comes, what it asks for, how it reads and goes."""

    client: int
    delay: float
    entries: tuple[str, ...]
    how: str = "resume"
    """`resume` (live where there is no id yet), `live`, `earliest`, `rewind`, `nonsense` or `beyond`."""
    rewind: int = 0
    single: bool = False
    """Whether one name is asked for at the topic's own address."""
    envelope: bool = True
    shows_heartbeats: bool = False
    compress: bool = False
    room: int = 65536
    reader: Reader = Reader()
    cut_after: int | None = None
    """Bytes after which it is gone, wherever that is in the answer."""
    leave_after: float = 60.0
    """Seconds after which it is gone."""
    farewell: str = "reset"
    """`reset` or `fin`."""
    steady: bool = False
    """Whether it reads faster than the feed publishes, so that it must get everything, on one connection."""

    @property
    def is_prompt(self) -> bool:
        """Whether it takes everything at once."""
        return self.room >= 65536 and self.reader == Reader() and self.cut_after is None


@dataclass(frozen=True, slots=True)
class Stay:
    """One connection of a room's member."""

    member: int
    delay: float
    room_name: str
    does: tuple[tuple[float, str], ...] = ()
    """What it does, each after a pause: `say` a message, say `again` one that was acknowledged, `clash` with
    it by saying something else under its ref, `signal` to everybody, `whisper` to one, or replace its
    `state`.
    """
    resumes: bool = True
    """Whether it comes as the member that it was in this room, behind what it had."""
    shows_secret: bool = False
    """Whether its session's secret is in the address, and not among the subprotocols."""
    packed: bool = False
    """Whether it speaks MessagePack."""
    room: int = 65536
    reader: Reader = Reader()
    cut_after: int | None = None
    leave_after: float = 20.0
    farewell: str = "close"
    """`close`, `away` or `wordless`, with a close frame that says 1000, 1001 or nothing; `reset` or `fin`; or
    `vanish`: its network is gone, and nobody is told.
    """

    @property
    def is_prompt(self) -> bool:
        """Whether it takes everything at once."""
        return self.room >= 65536 and self.reader == Reader()


@dataclass(frozen=True, slots=True)
class Post:
    """Messages published at a time: over HTTP one, by the hub a batch."""

    at: float
    via: str
    """`json` or `text`, one message over HTTP; `ndjson`, all at once over HTTP; `batch`, the same by the hub.
    """
    topics: tuple[str, ...]
    """One message to each, in order."""
    size: int = 10
    """Characters of padding in each."""
    cut: bool = False
    """Whether the publisher is gone before its answer."""
    repeat: bool = False
    """Whether it publishes the same again with the same Idempotency-Key."""


@dataclass(frozen=True, slots=True)
class Purge:
    """A topic is emptied."""

    at: float
    topic: str


@dataclass(frozen=True, slots=True)
class Restart:
    """The server goes, and another comes `down` seconds after it has gone."""

    at: float
    how: str
    """`drain` or `kill`."""
    down: float


Piece = Visit | Stay | Post | Purge | Restart


@dataclass(frozen=True, slots=True)
class Script:
    """What is to happen."""

    seed: int
    profile: str
    server: Server
    pieces: dict[int, Piece] = field(default_factory=dict)

    def without(self, numbers: Collection[int]) -> Script:
        """The same, pieces `numbers` left out."""
        kept = {number: piece for number, piece in self.pieces.items() if number not in numbers}
        return replace(self, pieces=kept)

    def random(self, number: int) -> Random:
        """What is random within a piece."""
        return Random(f"{self.seed}/{number}")

    def describe(self) -> str:
        """For people: the server, and a line for each piece."""
        lines = [f"seed {self.seed}, profile {self.profile}", f"     {self.server}"]
        lines += [f"{number:>4} {piece}" for number, piece in self.pieces.items()]
        return "\n".join(lines)


def write_script(seed: int) -> Script:
    """The script of `seed`."""
    random = Random(seed)
    profile = random.choices(PROFILES, WEIGHTS)[0]
    author = _Author(random, profile)
    match profile:
        case "catch-up":
            author.write_catch_up()
        case "rooms":
            author.write_rooms()
        case _:
            author.write_mixed()
    pieces = dict(enumerate(author.pieces))
    return Script(seed, profile, author.server, pieces)


class _Author:
    def __init__(self, random: Random, profile: str) -> None:
        self.random = random
        self.tiny = profile in ("tiny", "crowded", "patterns")
        self.patterns = profile == "patterns"
        self.crowded = profile == "crowded"
        self.pieces: list[Piece] = []
        self.span = random.choice((15.0, 40.0, 90.0))
        self.server = self._server()

    # Whole scripts

    def write_mixed(self) -> None:
        random = self.random
        for client in range(random.randint(4, 8) if self.patterns else random.randint(2, 5)):
            self._client(client, random.randint(1, 5))
        self._posts(random.randint(8, 30))
        for _ in range(random.choice((0, 0, 1, 3))):
            self.pieces.append(Purge(self._time(), random.choice(TOPICS)))
        self._restarts((0, 0, 0, 1, 1, 2))
        if random.random() < 0.2:
            self._member(0, 2)

    def write_rooms(self) -> None:
        random = self.random
        for name in ROOMS:
            overflow = random.choices(tuple(Overflow), (5, 3, 1, 1))[0]
            self.server.rules[ROOM_TOPIC_PREFIX + name] = self._rules(overflow)
        for member in range(random.randint(2, 5)):
            self._member(member, random.randint(1, 6))
        self._client(0, 2)
        self._posts(5)
        for _ in range(random.choice((0, 1, 3))):
            # From the server side: more than a member can be told at once when it comes back.
            count = random.choice((1, 20, 100))
            self.pieces.append(Post(self._time(), "batch", (ROOM_TOPIC_PREFIX + ROOMS[0],) * count))
        self._restarts((0, 0, 1))

    def write_catch_up(self) -> None:
        """A backlog, a feed, and clients whose pace lies between what both would ask for."""
        random = self.random
        topics = random.sample(TOPICS, random.randint(1, 2))
        backlog = random.randint(50, 250)
        batches = [tuple(random.choices(topics, k=40)) for _ in range(backlog // 40 + 1)]
        self.pieces += [Post(0.01, "batch", batch, size=30) for batch in batches]
        every = random.choice((0.2, 0.5))
        feed = int(min(self.span, 40) / every)
        self.pieces += [Post(1 + n * every, "batch", (random.choice(topics),), size=30) for n in range(feed)]
        # A frame with its envelope has some 200 bytes.
        for client in range(3):
            pause = random.choice((0.05, 0.1))
            reader = Reader(int(200 * pause / every * random.uniform(2.5, 6)), pause)
            how = random.choice(("earliest", "rewind"))
            entries = random.choice((tuple(topics), ("*",)))
            room = random.choice((512, 4096))
            self.pieces.append(
                Visit(client, 0.5, entries, how, backlog, room=room, reader=reader, steady=True)
            )
        limits = HistoryLimits(10_000, 10_000.0, 10_000_000)
        overflow = random.choice((Overflow.DISCONNECT, Overflow.DROP_OLDEST, Overflow.BLOCK))
        # What fits into a page and the kernel may wait live as well.
        rules = TopicRules(40 if overflow is Overflow.BLOCK else 8, 1_000_000, overflow, limits)
        self.server = replace(
            self.server,
            rules={},
            default=rules,
            replay=ReplayLimits(),
            hub=HubLimits(block_seconds=self.server.hub.block_seconds),
        )

    # Parts

    def _server(self) -> Server:
        random = self.random
        rules = {topic: self._rules() for topic in TOPICS if random.random() < 0.8}
        queued = random.choice((10, 30)) if self.tiny else 10_000
        hub = HubLimits(
            max_topics=random.choice((4, 5, 7)) if self.crowded else 10_000,
            max_queued=queued,
            max_queued_bytes=queued * 800,
            block_seconds=random.choice((3.0, 10.0)),
        )
        replay = ReplayLimits(random.choice((6, 20)), 20_000) if self.tiny else ReplayLimits()
        return Server(
            rules,
            self._rules(Overflow.DISCONNECT),
            hub,
            replay,
            heartbeat=random.choice((3.0, 15.0)),
            drain_seconds=random.choice((1.0, 10.0)),
            drain_notice=random.choice((0.0, 0.0, 0.5, 2.0)),
        )

    def _rules(self, overflow: Overflow | None = None) -> TopicRules:
        random = self.random
        if self.patterns:
            # Who falls behind ends in the middle of a pass.
            overflow = Overflow.DISCONNECT
        overflow = overflow or random.choices(tuple(Overflow), (4, 4, 2, 2))[0]
        if self.tiny:
            capacity = random.choice((1, 2, 5))
            history = HistoryLimits(random.choice((1, 3, 10)), random.choice((5.0, 60.0)), 20_000)
            return TopicRules(capacity, random.choice((700, 3_000)), overflow, history)
        capacity = random.choice((5, 50, 1000))
        history = HistoryLimits(random.choice((20, 1000)), random.choice((20.0, 300.0)), 1_000_000)
        return TopicRules(capacity, 1_000_000, overflow, history)

    def _time(self) -> float:
        return round(self.random.uniform(0.1, self.span), 2)

    def _entries(self) -> tuple[str, ...]:
        random = self.random
        if self.patterns:
            # One each: the last of a pattern that goes takes the pattern along.
            return (random.choice(("a*", "a.*", "a.x*", "*")),)
        return tuple(random.choices(ENTRIES, k=random.choice((1, 1, 2, 3))))

    def _client(self, client: int, visits: int) -> None:
        random = self.random
        entries = self._entries()
        for number in range(visits):
            if random.random() < 0.25:
                entries = self._entries()
            how = "resume" if random.random() < (0.85 if number else 0.2) else random.choice(HOWS)
            room, reader = self._room(), self._reader()
            single = len(entries) == 1 and "*" not in entries[0] and random.random() < 0.8
            self.pieces.append(
                Visit(
                    client,
                    round(random.choice((0.0, 0.01, random.uniform(0, self.span / 3))), 2),
                    entries,
                    how,
                    random.choice((1, 3, 30)),
                    single,
                    not single or random.random() < 0.5,
                    random.random() < 0.3,
                    random.random() < 0.15,
                    room,
                    reader,
                    self._cut_after(room, reader),
                    round(random.choice((self.span, random.uniform(0, self.span / 2))), 2),
                    random.choice(("reset", "fin")),
                )
            )

    def _member(self, member: int, stays: int) -> None:
        random = self.random
        for _ in range(stays):
            room, reader = self._room(), self._reader()
            if random.random() < 0.4:
                # Who is prompt can tell exactly when it was told what.
                room, reader = 65536, Reader()
            self.pieces.append(
                Stay(
                    member,
                    # Back at once, within the grace, about when it ends, or behind it.
                    round(random.choice((0.0, random.uniform(0, 5), 9.9, 10.1, random.uniform(5, 20))), 2),
                    ROOMS[0] if random.random() < 0.8 else ROOMS[1],
                    self._deeds(),
                    random.random() < 0.85,
                    random.random() < 0.3,
                    random.random() < 0.3,
                    room,
                    reader,
                    self._cut_after(room, reader),
                    round(random.uniform(1, self.span), 2),
                    random.choices(FAREWELLS, (3, 1, 1, 5, 2, 2))[0],
                )
            )

    def _deeds(self) -> tuple[tuple[float, str], ...]:
        random = self.random
        return tuple(
            (random.choice((0.0, 0.0, 0.3, 2.0)), random.choices(DEEDS, (8, 2, 1, 2, 1, 2))[0])
            for _ in range(random.randint(0, 12))
        )

    def _room(self) -> int:
        return self.random.choices((1, 40, 300, 3000, 65536), (1, 2, 3, 3, 3))[0]

    def _reader(self) -> Reader:
        random = self.random
        kind = random.choices(("quick", "slow", "bytes"), (5, 3, 1))[0]
        stalls = tuple(
            (random.randint(0, 3000), round(random.uniform(0, 2 * self.server.write_deadline), 2))
            for _ in range(random.choice((0, 0, 1, 2)))
        )
        match kind:
            case "quick":
                return Reader(stalls=stalls)
            case "slow":
                return Reader(random.choice((50, 300, 2000)), random.choice((0.05, 0.3)), stalls)
            case _:
                return Reader(random.choice((3, 20, 40)), 0.0, stalls)

    def _cut_after(self, room: int, reader: Reader) -> int | None:
        random = self.random
        if min(room, reader.chunk) < 50:
            # A few bytes at a time are thorough, and slow to simulate.
            return random.randint(0, 1500)
        return random.choice((None, None, random.randint(0, 400), random.randint(300, 6000)))

    def _posts(self, posts: int) -> None:
        random = self.random
        at = self._time()
        for _ in range(posts):
            if random.random() < 0.6:
                at = self._time()
            via = random.choices(("json", "text", "ndjson", "batch"), (4, 1, 2, 3))[0]
            count = random.choice((1, 1, 2, 2, 5, 5, 20, 20, 100)) if via in ("ndjson", "batch") else 1
            topics = random.choices(TOPICS, k=count)
            if random.random() < 0.5:
                topics = topics[:1] * len(topics)
            size = random.choice((0, 10, 10, 300, 3000))
            cut = via != "batch" and random.random() < 0.1
            repeat = via != "batch" and random.random() < 0.15
            self.pieces.append(Post(at, via, tuple(topics), size, cut, repeat))

    def _restarts(self, counts: tuple[int, ...]) -> None:
        random = self.random
        for _ in range(random.choice(counts)):
            self.pieces.append(
                Restart(self._time(), random.choice(("drain", "kill")), random.choice((0.0, 0.5)))
            )


PROFILES = ("mixed", "tiny", "crowded", "patterns", "catch-up", "rooms")
WEIGHTS = (8, 6, 3, 2, 1, 4)
DEEDS = ("say", "again", "clash", "signal", "whisper", "state")
FAREWELLS = ("close", "away", "wordless", "reset", "fin", "vanish")
HOWS = ("live", "earliest", "rewind", "nonsense", "beyond")

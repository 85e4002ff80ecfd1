"""The application: where settings become services, routes and a server.  The one place that knows all of
them.

`open_application` opens everything that lives as long as the server.  `serve` puts it on its own listeners
(`python -m server`); `serve_asgi` puts it under somebody else's ASGI server (`hypercorn -k trio server:app`).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import cast

import trio
from quart import Blueprint
from quart_trio import QuartTrio

from .files import UploadServices, open_folder
from .generations import (
    GENERATION_TOPIC_PREFIX,
    GenerationLimits,
    Generations,
    Provider,
    ProviderMissingError,
    ProviderOptions,
    Stream,
    open_generations,
    open_provider,
)
from .hub import (
    Draft,
    Feed,
    HistoryLimits,
    Hub,
    HubLimits,
    MemoryBroker,
    Overflow,
    ReplayLimits,
    TopicRules,
    run_feed,
    run_ticking_feed,
)
from .jobs import JOB_TOPIC_PREFIX, DatasetLimits, ImportServices, JobLimits, open_imports
from .lifecycle import (
    CloseReason,
    Registry,
    RequestHead,
    open_data_directory,
    open_temporary_directory,
    rare_full_collections,
    run_full_collections,
)
from .observability import StatsSource, configure, log_request, log_stream_end
from .rooms import ROOM_TOPIC_PREFIX, Pings, PresenceMode, Rooms, RoomServices, SessionLimits, Sessions
from .rooms.documents import (
    DOCUMENT_TOPIC_PREFIX,
    DocumentLimits,
    Documents,
    EditingServices,
    MissingLibraryError,
    Updates,
    open_document_store,
)
from .security import OriginRules, cors_headers
from .settings import Settings
from .streams import EXTENSION, EventServices, Heartbeats, PulledRequest, StreamingConnection
from .transport import (
    AsgiApp,
    AsgiMessage,
    ConnectionServer,
    DrainGate,
    HttpOptions,
    ServerOptions,
    open_listeners,
    raise_descriptor_limit,
)
from .web import (
    Asking,
    IdempotencyKeys,
    IdempotencyLimits,
    ag_ui_blueprint,
    ai_sdk_blueprint,
    datasets_blueprint,
    documents_blueprint,
    events_blueprint,
    files_blueprint,
    generations_blueprint,
    install_doors,
    install_error_handlers,
    jobs_blueprint,
    openai_blueprint,
    operations_blueprint,
    pages_blueprint,
    publishing_blueprint,
    refuse_events,
    rooms_blueprint,
    text_blueprint,
    told,
    topics_blueprint,
    websocket_door,
)
from .wire import json_text
from .wire.content_coding import offered_codings
from .wire.problem import Problem
from .wire.times import rfc3339

Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]

JOB_TOPIC_SECONDS = 30.0
"""For how long the last progress of a job is kept."""
_EDITORS_MARGIN = 1024 * 1024
"""Bytes that may wait for an editor beside a whole document."""

_log = logging.getLogger("sluiceway")


class App(QuartTrio):
    """The Quart app: Quart-Trio's, with request bodies that are pulled and responses that are handed over."""

    asgi_http_class = StreamingConnection
    request_class = PulledRequest


@dataclass(frozen=True, slots=True)
class Extension:
    """What somebody who embeds the server adds to it: routes of their own, feeds, and generations' providers
    by name.
    """

    blueprints: Sequence[Blueprint] = ()
    feeds: Sequence[Feed] = ()
    providers: Mapping[str, Provider | Stream] = field(default_factory=dict)


NOTHING = Extension()


@dataclass(frozen=True, slots=True)
class Application:
    """What is open as long as the server is."""

    settings: Settings
    app: App
    events: EventServices
    rooms: RoomServices
    editing: EditingServices | None
    """None where documents are not installed."""
    generations: Generations
    rules: OriginRules

    @property
    def registry(self) -> Registry:
        """Every open stream."""
        return self.events.registry

    @property
    def gate(self) -> DrainGate:
        """Closed when the server is to stop."""
        return self.events.gate

    def server(self) -> ConnectionServer:
        """A server of connections for this application, in our own transport."""
        settings = self.settings

        def door(head: RequestHead) -> Problem | None:
            limit = _body_limit(head, settings)
            if int(head.header("content-length") or 0) > limit:
                return Problem("body_too_large", f"A body here may have {limit} bytes.")
            return None

        def door_when_full(head: RequestHead) -> Problem | bytes:
            detail = "As many connections are open as this server allows."
            return refuse_events(head, "connections_full", detail, CloseReason.LIMIT, self.gate)

        return ConnectionServer(
            cast("AsgiApp", self.app),
            self.registry,
            self.gate,
            door=door,
            door_when_full=door_when_full,
            websockets=websocket_door(self.rooms, self.rules, echo=settings.echo, editing=self.editing),
            on_answer=log_request,
            early_headers=lambda head: cors_headers(head, self.rules),
            tell=told,
            options=ServerOptions(
                write_deadline=settings.write_deadline,
                max_connections=settings.max_connections,
                drain_seconds=settings.drain_seconds,
                drain_notice=settings.drain_notice,
                http=HttpOptions(keep_alive=settings.keep_alive),
            ),
        )


def _body_limit(head: RequestHead, settings: Settings) -> int:
    """The largest body that a request may announce: what is read whole, or what goes to the disk."""
    is_upload = (head.method == "PUT" and head.path.startswith("/files/")) or (
        head.method == "POST" and head.path.startswith("/datasets/")
    )
    return settings.max_upload if is_upload else settings.max_body


@asynccontextmanager
async def open_application(
    settings: Settings,
    binds: Sequence[tuple[str, int]] = (),
    rooms_url: str | None = None,
    *,
    hub: Hub | None = None,
    extension: Extension = NOTHING,
) -> AsyncIterator[Application]:
    """Open what the server holds: hub, registry, heartbeats and feeds.

    `binds` are the addresses it is reached at, `rooms_url` is where rooms are, None where that is the same,
    `hub` takes the place of the one that the settings describe, `extension` is added to what there is.

    Leaving the block cancels the background tasks.  One that fails takes the block down with it: a server
    without its heartbeat is not to go on.

    Raises:
        ProviderMissingError: there is no provider as the settings name it.
        OSError: the data directory cannot be used, or another process has it.
    """
    registry = Registry(log_stream_end)
    limits = _generation_limits(settings)
    hub = hub or _open_hub(settings, limits)
    heartbeats = Heartbeats(settings.heartbeat)
    gate = DrainGate(lambda: len(registry.streams), settings.drain_seconds)
    events = EventServices(hub, registry, heartbeats, gate)
    keys = IdempotencyKeys(
        IdempotencyLimits(settings.idempotency_seconds, settings.idempotency_keys, settings.idempotency_bytes)
    )
    sessions = Sessions(
        SessionLimits(
            settings.session_seconds, settings.idle_sessions, settings.session_refs, settings.session_bytes
        )
    )
    rules = OriginRules(
        set(binds),
        frozenset(settings.allow_origin),
        frozenset(host.lower() for host in settings.allow_host),
    )
    members = Rooms(
        hub, sessions, lambda room: PresenceMode(settings.room_rule(room).presence), settings.leave_grace
    )
    rooms = RoomServices(hub, registry, members, Pings(), gate)
    with ExitStack() as stack:
        directory = stack.enter_context(open_data_directory(settings.data)) if settings.data else None
        documents = _open_documents(settings, hub, directory, stack)
        editing = EditingServices(hub, registry, documents, rooms.pings, gate) if documents else None
        # What need not outlive the process is on the disk all the same where it can be large.
        files_in = directory or stack.enter_context(open_temporary_directory())
        uploads = UploadServices(stack.enter_context(open_folder(files_in)), registry, settings.max_upload)
        imports = stack.enter_context(_open_imports(settings, hub, files_in))
        async with (
            open_provider(settings.provider, _provider_options(settings), extension.providers) as provider,
            open_generations(hub, provider, limits, gate) as generations,
            trio.open_nursery() as background,
        ):
            ceiling = settings.memory_ceiling().total
            stats = StatsSource(
                registry, hub, ceiling, lambda: keys.size + sessions.size + generations.prompt_bytes
            )
            codings = offered_codings()
            asking = Asking(generations, events, keys, settings.max_body)
            max_body = settings.max_body
            reserved = frozenset({"clock", "stats", *(feed.topic for feed in extension.feeds)})
            blueprints = (
                topics_blueprint(events, reserved),
                events_blueprint(events, codings),
                text_blueprint(events),
                publishing_blueprint(hub, keys, max_body, reserved),
                rooms_blueprint(rooms, events, codings, keys, max_body),
                documents_blueprint(documents),
                generations_blueprint(generations, events, keys, max_body),
                openai_blueprint(asking),
                ai_sdk_blueprint(asking),
                ag_ui_blueprint(asking),
                files_blueprint(uploads),
                jobs_blueprint(imports, events),
                datasets_blueprint(imports, events, keys),
                operations_blueprint(gate, stats),
                pages_blueprint(rooms_url),
                *extension.blueprints,
            )
            app = _create_app(events, rules, max_body, blueprints)
            background.start_soon(heartbeats.run)
            background.start_soon(rooms.pings.run)
            background.start_soon(members.run)
            if documents:
                background.start_soon(documents.run)
            await background.start(imports.run)
            background.start_soon(run_ticking_feed, hub, "clock", 1.0, _clock_draft)
            background.start_soon(run_ticking_feed, hub, "stats", 1.0, lambda: _stats_draft(stats))
            for feed in extension.feeds:
                background.start_soon(run_feed, hub, feed)
            yield Application(settings, app, events, rooms, editing, generations, rules)
            background.cancel_scope.cancel()


def _provider_options(settings: Settings) -> ProviderOptions:
    return ProviderOptions(
        settings.echo_delay_ms,
        settings.openai_base_url or os.environ.get("OPENAI_BASE_URL"),
        settings.openai_model,
        settings.openai_api_key or os.environ.get("OPENAI_API_KEY"),
        settings.local_model,
        settings.local_context,
        settings.local_parallel,
    )


def _generation_limits(settings: Settings) -> GenerationLimits:
    return GenerationLimits(
        size=settings.generation_bytes(),
        running=settings.max_generations,
        each=settings.max_generations_per_client or settings.max_generations,
        queue=settings.generation_queue,
        kept_seconds=settings.generation_seconds,
        kept=settings.generations_kept,
        kept_bytes=settings.generations_kept_bytes,
        max_tokens=settings.max_tokens,
        max_prompt=settings.max_prompt,
        silence=settings.provider_timeout,
        detach_max=settings.detach_max,
        drain_seconds=settings.drain_seconds,
    )


def _open_documents(
    settings: Settings, hub: Hub, directory: Path | None, stack: ExitStack
) -> Documents | None:
    """Documents, kept in `directory` where there is one; None where they are not installed."""
    try:
        updates = Updates()
    except MissingLibraryError:
        return None
    store = stack.enter_context(open_document_store(directory)) if directory else None
    limits = DocumentLimits(
        settings.document_max, settings.max_documents, settings.documents_bytes, settings.max_editors
    )
    return Documents(hub, updates, limits, store)


def _open_imports(settings: Settings, hub: Hub, directory: Path) -> AbstractContextManager[ImportServices]:
    jobs = JobLimits(settings.max_imports, settings.jobs_kept, settings.job_seconds)
    datasets = DatasetLimits(settings.max_datasets, settings.max_readers)
    return open_imports(directory, hub, jobs, datasets, settings.max_upload)


def _open_hub(settings: Settings, generations: GenerationLimits) -> Hub:
    of_generations = generations.rules()
    # What waits for an editor: a whole document, and who is there.  Nothing of it is kept by the hub.
    of_documents = TopicRules(capacity_bytes=settings.document_max + _EDITORS_MARGIN)

    # How far a job was is of no use once it has gone further, or ended.
    of_jobs = TopicRules(
        overflow=Overflow.LATEST, history=HistoryLimits(messages=1, seconds=JOB_TOPIC_SECONDS)
    )

    def rules_of(topic: str) -> TopicRules:
        if topic.startswith(DOCUMENT_TOPIC_PREFIX):
            return of_documents
        if topic.startswith(GENERATION_TOPIC_PREFIX):
            return of_generations
        if topic.startswith(JOB_TOPIC_PREFIX):
            return of_jobs
        room = topic.removeprefix(ROOM_TOPIC_PREFIX)
        given = settings.topic_rule(topic) if room == topic else settings.room_rule(room)
        history = HistoryLimits(given.history, given.history_seconds, given.history_bytes)
        overflow = Overflow.LATEST if topic == "stats" else Overflow(given.overflow)
        return TopicRules(given.capacity, given.capacity_bytes, overflow, history, given.compress)

    limits = HubLimits(
        max_topics=settings.max_topics,
        max_queued=settings.connection_queue,
        max_queued_bytes=settings.queue_bytes(),
        block_seconds=settings.write_deadline,
    )
    replay = ReplayLimits(settings.replay_max, settings.replay_bytes)
    # Asked for at each page of a replay.
    remembered = lru_cache(maxsize=settings.max_topics)(rules_of)
    return Hub(MemoryBroker(remembered, replay), limits)


def _create_app(
    events: EventServices, rules: OriginRules, max_body: int, blueprints: Iterable[Blueprint]
) -> App:
    app = App("sluiceway", static_folder=None)
    app.extensions[EXTENSION] = events
    app.config.update(
        MAX_CONTENT_LENGTH=max_body,
        BODY_TIMEOUT=None,
        RESPONSE_TIMEOUT=None,
        PROPAGATE_EXCEPTIONS=False,
    )
    app.url_map.merge_slashes = False
    install_doors(app, rules)
    install_error_handlers(app)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    return app


def _clock_draft() -> Draft:
    return Draft("clock", json_text.encode({"time": rfc3339()}), event="time")


def _stats_draft(stats: StatsSource) -> Draft:
    return Draft("stats", json_text.encode(stats.collect()))


async def serve(
    settings: Settings, on_ready: Callable[[list[str]], object], extension: Extension = NOTHING
) -> None:
    """Serve until the drain that SIGTERM or SIGINT begins is over; a second signal ends the process at once.

    `on_ready` is given the URLs once all listeners accept, `extension` is what is added to the server.

    Raises:
        ProviderMissingError: there is no provider as the settings name it.
        OSError: an address cannot be bound, or a certificate not be read.
    """
    raise_descriptor_limit()
    tls = _tls_context(settings)
    addresses = [(address.host, address.port) for address in settings.bind]
    with open_listeners(addresses) as listeners:
        binds = [_bound(host, listener) for (host, _), listener in zip(addresses, listeners, strict=True)]
        async with (
            open_application(settings, binds, extension=extension) as application,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_drain_on_signals, application.gate)
            server = application.server()
            await nursery.start(server.run, listeners, tls)
            with rare_full_collections():
                nursery.start_soon(run_full_collections)
                on_ready([_url(host, port, tls is not None) for host, port in binds])
                await server.wait_stopped()
            nursery.cancel_scope.cancel()


def _bound(host: str, listener: socket.socket) -> tuple[str, int]:
    return host or "0.0.0.0", listener.getsockname()[1]


def _url(host: str, port: int, secure: bool) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{shown}:{port}"


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    if settings.certfile is None or settings.keyfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certfile, settings.keyfile)
    except ssl.SSLError as error:
        # Its own words name neither file.
        files = f"{settings.certfile} and {settings.keyfile}"
        raise OSError(f"cannot serve TLS: {files} are not a certificate and its key in PEM") from error
    # HTTP/2 stays out until its flow control is ours.
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _drain_on_signals(gate: DrainGate) -> None:
    import signal  # noqa: PLC0415 - needed by a process of our own alone

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if gate.draining:
                logging.shutdown()
                os._exit(128 + number)
            _log.info("draining")
            gate.close()


async def serve_asgi(
    scope: AsgiMessage, receive: Receive, send: Send, extension: Extension = NOTHING
) -> None:
    """The application under a stock ASGI server: built from the environment when its lifespan starts.

    It is kept in the lifespan's state, which the server hands to every request; nothing is kept in this
    module.
    """
    if scope["type"] == "lifespan":
        await _live_under_asgi(scope, receive, send, extension)
    elif scope["type"] == "http":
        application: Application = scope["state"]["sluiceway.application"]
        # Which addresses the other server listens at is only seen here.
        host, port = scope["server"] or (None, None)
        # A Unix socket has neither: it is the proxy in front of it that pages know.
        if host is not None and port is not None:
            application.rules.binds.update({(host, port), ("localhost", port)})
        await application.app(scope, receive, send)  # type: ignore[arg-type]
    else:
        await send({"type": "websocket.close", "code": 1008})


async def _live_under_asgi(scope: AsgiMessage, receive: Receive, send: Send, extension: Extension) -> None:
    """The lifespan, which a failure ends by its own name, whenever it comes: without it the other server
    would go on listening, with nothing behind its routes.
    """
    await receive()
    phase = "startup"
    failure: Exception | None = None
    try:
        async with _open_under_asgi(extension) as application:
            scope["state"]["sluiceway.application"] = application
            await send({"type": "lifespan.startup.complete"})
            phase = "shutdown"
            await receive()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told below
        failure = error
    if failure is None:
        await send({"type": "lifespan.shutdown.complete"})
        return
    cause = innermost(failure)
    if not isinstance(cause, ValueError | OSError | ProviderMissingError):
        _log.critical("the server failed", exc_info=failure)
    # Hypercorn 0.18 ends the worker by what this raises.  Where the lifespan only raises, it goes on.
    await send({"type": f"lifespan.{phase}.failed", "message": str(cause) or type(cause).__name__})
    if phase == "shutdown":
        raise failure


@asynccontextmanager
async def _open_under_asgi(extension: Extension) -> AsyncIterator[Application]:
    """The application of the environment's settings, with the listener of its rooms."""
    with _only_worker():
        settings = Settings.from_environment(os.environ)
        host = settings.rooms_bind.host
        with open_listeners([(host, settings.rooms_bind.port)]) as listeners:
            # Bound to every address it has no name of its own: a browser on this machine finds it there.
            reached = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host
            rooms_url = _url(reached, listeners[0].getsockname()[1], secure=False).replace("http", "ws", 1)
            async with (
                open_application(settings, rooms_url=rooms_url, extension=extension) as application,
                trio.open_nursery() as nursery,
            ):
                configure(settings.log_format)
                _log.warning(
                    "running under a stock ASGI server: no write deadline, no write-through, no time limits "
                    "for slow heads and bodies, and streams are cut rather than drained; `python -m server` "
                    "has them"
                )
                # Hypercorn's own WebSockets are no place for rooms: they have a listener of ours beside it.
                server = application.server()
                await nursery.start(server.run, listeners, None)
                _log.info("rooms are at %s/rooms/", rooms_url)
                yield application
                application.gate.close()
                await server.wait_stopped()
                nursery.cancel_scope.cancel()


def innermost(error: BaseException) -> BaseException:
    """What failed first, out of the groups that nurseries make of it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _only_worker() -> socket.socket:
    """A lock held as long as this worker lives.  Hub and rooms are per process: a second worker would split
    them.

    Raises:
        ValueError: another worker of the same parent holds it.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if multiprocessing.parent_process() is None:
        return lock
    try:
        lock.bind(f"\0sluiceway-worker-of-{os.getppid()}")
    except OSError:
        lock.close()
        raise ValueError("more than one worker: topics would be split between processes; use one") from None
    return lock

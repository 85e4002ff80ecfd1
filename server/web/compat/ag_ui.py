"""AG-UI (https://docs.ag-ui.com), which TanStack AI speaks too.

A run is a generation, found by the id that its client gave it for as long as the generation is kept.
TanStack's client mends a cut by sending the same request again with the last id that it saw, and joins a run,
as after a reload, by asking for it from its beginning.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakValueDictionary

from quart import Blueprint, Response, request

from ...generations import Generation, Note
from ...streams import head_of
from ...wire.generations import AgUi
from ...wire.problem import ProblemError
from ...wire.prompts import decode_run
from ..generations import cursor_in
from ..requests import query_of
from .asking import Asking, Without

_WHERE = "/forwardedProps"
_AWHILE = Without("detach", 10.0)


class _Run(NamedTuple):
    """The client's own ids, which it wants back."""

    thread_id: str
    run_id: str


def ag_ui_blueprint(asking: Asking) -> Blueprint:
    """The routes of `/api/ag-ui`."""
    blueprint = Blueprint("ag_ui", __name__)
    # One run for a generation at most, and none for those that are forgotten.
    runs: WeakValueDictionary[str, Generation] = WeakValueDictionary()

    def resumed(run_id: str, last: str | None) -> Response:
        generation = runs.get(run_id)
        if generation is None or generation.is_erased:
            # To begin anew would show, and cost, everything twice.
            raise ProblemError("generation_unknown", "There is no run of this id, or no more.")
        return asking.stream(generation, _encoder(generation), cursor_in(generation, last))

    @blueprint.post("/api/ag-ui")
    async def run() -> Response:
        head = head_of(request)
        query_of(head, frozenset())
        body = await asking.read()
        asked = decode_run(body, asking.prompt_limits)
        last = head.header("last-event-id")
        if last is not None:
            return resumed(asked.run_id, last)
        detach_seconds = asking.detach_seconds(asked.prompt, _AWHILE, _WHERE)
        note = Note(_Run(asked.thread_id, asked.run_id), 4 * (len(asked.thread_id) + len(asked.run_id)) + 512)
        generation = await asking.start(body, asked.prompt, detach_seconds, where=_WHERE, note=note)
        runs[asked.run_id] = generation
        return asking.stream(generation, _encoder(generation))

    @blueprint.get("/api/ag-ui")
    async def join() -> Response:
        head = head_of(request)
        query = query_of(head, frozenset({"offset", "runId"}))
        if not query.get("runId"):
            raise ProblemError("query_invalid", "Name the run to be joined as runId.")
        return resumed(query["runId"], head.header("last-event-id") or query.get("offset"))

    return blueprint


def _encoder(generation: Generation) -> AgUi:
    assert generation.note is not None
    run = generation.note.value
    assert isinstance(run, _Run)
    return AgUi(generation.about, thread_id=run.thread_id, run_id=run.run_id)

"""Routes for operators: health and statistics."""

from __future__ import annotations

from quart import Blueprint, Response

from ..observability import StatsSource
from ..transport import DrainGate
from ..wire.problem import ProblemError
from .answers import json_response


def operations_blueprint(gate: DrainGate, stats: StatsSource) -> Blueprint:
    """The routes `/health/…` and `/stats`."""
    blueprint = Blueprint("operations", __name__)

    @blueprint.get("/health/live")
    async def live() -> Response:
        return json_response({"status": "live"})

    @blueprint.get("/health/ready")
    async def ready() -> Response:
        if gate.draining:
            raise ProblemError("server_draining", "The server is shutting down.")
        return json_response({"status": "ready"})

    @blueprint.get("/stats")
    async def show_stats() -> Response:
        return json_response(stats.collect())

    return blueprint

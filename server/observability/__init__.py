"""What operators see: logs and statistics."""

from .logs import LogFormat, configure, log_request, log_stream_end
from .stats import Stats, StatsSource

__all__ = ["LogFormat", "Stats", "StatsSource", "configure", "log_request", "log_stream_end"]

"""How uploads and downloads end.

Neither has a place at which it could stop and say so.  A drain that asks one to end lets it come to its own
end, for as long as there is time, and cuts it then.
"""

from __future__ import annotations

from ..lifecycle import CloseReason, OpenStream


def let_run(opened: OpenStream) -> None:
    """Have `opened` go on when it is asked to end."""
    opened.on_end(_go_on)


def finish(opened: OpenStream) -> None:
    """Say that `opened` has come to its natural end, also where it had been asked to end before."""
    if not opened.scope.cancel_called:
        opened.reason = CloseReason.COMPLETED


def _go_on() -> None:
    """Nothing."""

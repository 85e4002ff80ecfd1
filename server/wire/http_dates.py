"""Dates of HTTP (RFC 9110, section 5.6.7): seconds of Unix time, written in one form and read in three."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime

_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = "[0-9]{2}:[0-9]{2}:[0-9]{2}"
_FORMS = re.compile(
    rf"{_DAY}, [0-9]{{2}} {_MONTH} [1-9][0-9]{{3}} {_TIME} GMT"
    rf"|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, [0-9]{{2}}-{_MONTH}-[0-9]{{2}} {_TIME} GMT"
    rf"|{_DAY} {_MONTH} (?:[0-9]{{2}}| [0-9]) {_TIME} [1-9][0-9]{{3}}"
)


def format_date(unix_time: int) -> str:
    """`unix_time` as IMF-fixdate: ``Sun, 06 Nov 1994 08:49:37 GMT``."""
    return formatdate(unix_time, usegmt=True)


def parse_date(text: str) -> int | None:
    """The Unix time of an HTTP date in any of its forms; None where it is none, and has to be passed over."""
    text = text.strip(" \t")
    if _FORMS.fullmatch(text) is None:
        return None
    try:
        # asctime has no zone, and is in UTC like the others.
        return int(parsedate_to_datetime(text).replace(tzinfo=UTC).timestamp())
    except (ValueError, OverflowError):
        return None

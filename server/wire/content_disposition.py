"""Content-Disposition: under which name a client is to save what it gets (RFC 6266, RFC 8187)."""

from __future__ import annotations

import re
from urllib.parse import quote

_PLAIN = re.compile(r"[A-Za-z0-9!#$&+.^_`|~ ()\[\]{},=@-]+")
"""Names that every client reads alike between double quotes.  A percent sign is not among them: some decode
what follows it (RFC 6266, appendix D).
"""
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9!#$&+.^_`|~ ()\[\]{},=@-]")
_ATTR_CHAR = "!#$&+-.^_`|~"
"""What RFC 8187 lets stand as it is, beside letters and digits."""


def attachment(name: str) -> str:
    """The header's value for a download to be saved as `name`.

    A name beyond plain ASCII comes twice: for clients that know RFC 8187 as it is, for others with `_` in
    place of what they might not read.
    """
    if _PLAIN.fullmatch(name):
        return f'attachment; filename="{name}"'
    plain = _NOT_PLAIN.sub("_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTR_CHAR)}"

"""Documents: what Yjs editors write together, kept as their own updates.

`document` is one document in memory, with who edits it; `updates` is what is asked of the Yjs library,
`awareness` who is there; `documents` are all of them, `store` where they outlive the process, and `editing`
is one editor's connection.
"""

from .document import DOCUMENT_TOPIC_PREFIX
from .documents import DocumentInfo, DocumentLimits, Documents
from .editing import Editing, EditingServices
from .store import StoreError, open_document_store
from .updates import MissingLibraryError, Updates

__all__ = [
    "DOCUMENT_TOPIC_PREFIX",
    "DocumentInfo",
    "DocumentLimits",
    "Documents",
    "Editing",
    "EditingServices",
    "MissingLibraryError",
    "StoreError",
    "Updates",
    "open_document_store",
]

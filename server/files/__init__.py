"""Files: uploads that appear whole or not at all, and downloads of all or a part.

`names` says what a file may be called, `folder` is where files are and the one module that touches the disk,
`uploads` and `downloads` are the two ways, and `conditions` decides whether a request applies to what is
there.
"""

from .conditions import MalformedConditionError, Preconditions, Verdict
from .downloads import Download, Part
from .folder import (
    ConditionFailedError,
    Folder,
    OpenFile,
    StorageError,
    StorageFullError,
    StoredFile,
    open_folder,
)
from .names import InvalidNameError, file_name
from .uploads import TooLargeError, UploadEndedError, UploadServices, receive_upload

__all__ = [
    "ConditionFailedError",
    "Download",
    "Folder",
    "InvalidNameError",
    "MalformedConditionError",
    "OpenFile",
    "Part",
    "Preconditions",
    "StorageError",
    "StorageFullError",
    "StoredFile",
    "TooLargeError",
    "UploadEndedError",
    "UploadServices",
    "Verdict",
    "file_name",
    "open_folder",
    "receive_upload",
]

"""Generations: answers of language models, which belong to the server and not to a connection."""

from .generation import FIRST_VIEWER_SECONDS, NOTE_BYTES, Generation, Note, State
from .log import GENERATION_TOPIC_PREFIX
from .places import PlacesFullError
from .providers import (
    Provider,
    ProviderError,
    ProviderMissingError,
    ProviderOptions,
    Stream,
    open_provider,
)
from .request import GenerationRequest, RequestError
from .service import (
    MAX_TURNS,
    GenerationLimits,
    Generations,
    GenerationUnknownError,
    open_generations,
)
from .stream import GenerationStream
from .whole import watch_whole

__all__ = [
    "FIRST_VIEWER_SECONDS",
    "GENERATION_TOPIC_PREFIX",
    "MAX_TURNS",
    "NOTE_BYTES",
    "Generation",
    "GenerationLimits",
    "GenerationRequest",
    "GenerationStream",
    "GenerationUnknownError",
    "Generations",
    "Note",
    "PlacesFullError",
    "Provider",
    "ProviderError",
    "ProviderMissingError",
    "ProviderOptions",
    "RequestError",
    "State",
    "Stream",
    "open_generations",
    "open_provider",
    "watch_whole",
]

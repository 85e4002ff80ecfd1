"""Generations: answers of language models, which belong to the server and not to a connection."""

from .generation import FIRST_VIEWER_SECONDS, Generation, State
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
    GenerationLimits,
    Generations,
    GenerationUnknownError,
    open_generations,
)
from .stream import GenerationStream

__all__ = [
    "FIRST_VIEWER_SECONDS",
    "GENERATION_TOPIC_PREFIX",
    "Generation",
    "GenerationLimits",
    "GenerationRequest",
    "GenerationStream",
    "GenerationUnknownError",
    "Generations",
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
]

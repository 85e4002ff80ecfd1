"""What a provider is, and what it raises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from ...wire import json_text
from ...wire.deltas import Delta
from ...wire.prompts import Turn
from ..request import GenerationRequest, RequestError

Stream: TypeAlias = Callable[[GenerationRequest], AsyncGenerator[Delta | str, None]]
"""An async generator function.

A plain string is a piece of the text; an empty one is no more than a sign of life, which ends a silence.  It
ends by itself when the answer is whole, or raises: `ProviderError` where it can say what kind of failure it
is, anything else is one too.  It is cancelled, or closed between two of its deltas, when no more is wanted,
and must then release what it holds; an `await` in that cleanup has to be shielded, with a deadline.
"""

FAILURES: Mapping[str, str] = {
    "provider_unavailable": "The model's provider cannot be reached.",
    "provider_failed": "The model's provider failed.",
    "provider_refused": "The model's provider refused the request.",
    "provider_limited": "The model's provider limits its use; try again later.",
    "provider_slow": "The model's provider took too long.",
    "server_draining": "The server is shutting down.",
}
"""What may be said of a failure, by code.  The cause is for the log alone."""


class ProviderError(Exception):
    """The provider can go no further; `code` is a key of `FAILURES`.  Its own words go to the log alone."""

    def __init__(self, code: str, words: str = "") -> None:
        assert code in FAILURES, code
        super().__init__(words or code)
        self.code = code


class ProviderMissingError(Exception):
    """There is no provider of that name, or it lacks something; the message is for who starts the server."""


class NoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a provider that has none."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A stream of deltas under a name.

    Of `models` the first is taken where a client names none; with `any_model` others may be named too.
    `options` is the type (as msgspec decodes it) of what a client may say under ``options``.  `at_once` is
    how many answers it can make at once, None for any number: further generations wait for their turn.
    """

    name: str
    stream: Stream
    models: tuple[str, ...] = ()
    any_model: bool = False
    options: type = NoOptions
    at_once: int | None = None

    def known(self, wishes: Mapping[str, object]) -> dict[str, object]:
        """Those of `wishes` that are named as options are; none where any options are taken."""
        names = getattr(self.options, "__struct_fields__", ())
        return {name: wish for name, wish in wishes.items() if name in names}

    def request(
        self,
        messages: tuple[Turn, ...],
        model: str | None,
        max_tokens: int,
        temperature: float | None,
        options: Mapping[str, object],
    ) -> GenerationRequest:
        """The request that `stream` is given.

        Raises:
            RequestError: the model is not known, or the options are not those of this provider.
        """
        if model is None:
            if not self.models:
                raise RequestError("body_invalid", "/model", "name a model: there is no default here")
            model = self.models[0]
        elif model not in self.models and not self.any_model:
            raise RequestError("model_unknown", "/model", "there is no such model here")
        try:
            made: object = msgspec.convert(options, self.options)
        except msgspec.ValidationError as error:
            detail, pointer = json_text.explain(str(error))
            raise RequestError("body_invalid", f"/options{pointer}", detail) from None
        return GenerationRequest(messages, model, max_tokens, temperature, made)

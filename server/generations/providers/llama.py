"""llama.cpp, as the package xllamacpp has it: what the provider `local` computes with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe

import xllamacpp

from .local_model import Engine
from .provider import ProviderMissingError

PROMPT_TOKENS = 16
"""Tokens of a prompt that are computed in one go, and cannot be cancelled.  With 128 at a time a prompt takes
a fifth less.
"""


_FIRST: dict[str, object] = {"messages": [{"role": "user", "content": "."}], "max_tokens": 1, "stream": True}


@dataclass(frozen=True, slots=True)
class LlamaOptions:
    """How much of the machine a model may take.

    `context` is the tokens of a conversation, prompt and answer together; `parallel` how many answers are
    computed at once.  Memory for `parallel` contexts is taken when the model is loaded.
    """

    context: int = 4096
    parallel: int = 1


def load(file: Path, options: LlamaOptions, private: Path) -> Engine:
    """The model in `file` (GGUF), loaded.  It blocks; `private` is a folder that nobody else may look into.

    Raises:
        ProviderMissingError: there is none in it, or none that this version knows.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx = options.context * options.parallel
    params.n_parallel = options.parallel
    params.n_batch = params.n_ubatch = max(PROMPT_TOKENS, options.parallel)
    # Half of the processors: the threads of llama.cpp wait for each other by spinning, and the server needs
    # one too.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    # It would keep up to 8 GiB of earlier prompts.
    params.cache_ram_mib = 0
    params.warmup = False
    params.fit_params = False
    params.verbosity = 0
    # xllamacpp 2026.10 cannot do without a listener of its own over HTTP (`init` in its server.cpp).  It gets
    # a socket in a folder that is nobody else's, and a key that nobody knows.
    params.hostnames = [str(private / "llama.sock")]
    params.api_keys = [token_urlsafe(32)]
    params.n_threads_http = 1
    params.endpoint_slots = False
    params.ui = False
    try:
        engine: Engine = xllamacpp.Server(params)
        # It is given before its loop runs.  Let go of before that, it would wait for the loop's end for ever,
        # with the interpreter's lock (xllamacpp 2026.10, `~Server`).  Once it has answered, the loop runs.
        engine.handle_chat_completions(_FIRST, lambda _: False)
    except (RuntimeError, ValueError) as error:
        raise ProviderMissingError(f"the model {file} cannot be loaded") from error
    return engine

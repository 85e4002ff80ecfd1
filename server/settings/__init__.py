"""What an operator may choose: one frozen value, read from flags, the environment and a TOML file.

The one idea: a setting is declared once, as a field of `Settings` with its kind, default and help; its flag,
variable, TOML key, help text and documentation follow from that line. `kinds` says what a value may be,
`rules` what differs for names that match a pattern, `sources` reads where values come from, `model` declares
the settings and what they mean together, `memory` adds up what they cost. Only `application`
and the command line import it: the layers below are handed small options of their own.
"""

from server.settings.kinds import Address, is_loopback
from server.settings.memory import Component, MemoryCeiling
from server.settings.model import CommandLine, Settings
from server.settings.rules import Overflow, TopicRule, TopicSettings
from server.settings.sources import SettingsError

__all__ = [
    "Address",
    "CommandLine",
    "Component",
    "MemoryCeiling",
    "Overflow",
    "Settings",
    "SettingsError",
    "TopicRule",
    "TopicSettings",
    "is_loopback",
]

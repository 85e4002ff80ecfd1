"""Topics: messages, their order and history, and the fan-out to whoever listens in this process."""

from .broker import Excerpt, ReplayLimits, TopicsFullError
from .brokers.memory import MemoryBroker
from .cursor import Cursor
from .feeds import Feed, Publish, run_feed, run_ticking_feed
from .history import HistoryLimits
from .hub import BatchTooLargeError, Hub, HubLimits, MessageTooLargeError, TopicInfo
from .message import (
    OVERHEAD,
    Burst,
    Draft,
    Flush,
    Form,
    Gap,
    Heartbeat,
    Item,
    Message,
    Notice,
    Origin,
    joined,
    reckoned_size,
)
from .rules import Overflow, RulesOf, TopicRules, same_rules
from .selection import Selection
from .start import After, Earliest, Live, Rewind, Start
from .subscription import Subscription

__all__ = [
    "OVERHEAD",
    "After",
    "BatchTooLargeError",
    "Burst",
    "Cursor",
    "Draft",
    "Earliest",
    "Excerpt",
    "Feed",
    "Flush",
    "Form",
    "Gap",
    "Heartbeat",
    "HistoryLimits",
    "Hub",
    "HubLimits",
    "Item",
    "Live",
    "MemoryBroker",
    "Message",
    "MessageTooLargeError",
    "Notice",
    "Origin",
    "Overflow",
    "Publish",
    "ReplayLimits",
    "Rewind",
    "RulesOf",
    "Selection",
    "Start",
    "Subscription",
    "TopicInfo",
    "TopicRules",
    "TopicsFullError",
    "joined",
    "reckoned_size",
    "run_feed",
    "run_ticking_feed",
    "same_rules",
]

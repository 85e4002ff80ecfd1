"""Topics: messages, their order and history, and the fan-out to whoever listens in this process."""

from .broker import TopicsFullError
from .brokers.memory import MemoryBroker
from .cursor import Cursor
from .feeds import run_ticking_feed
from .history import HistoryLimits
from .hub import Hub, HubLimits, TopicInfo
from .message import Draft, Flush, Form, Gap, Heartbeat, Item, Message, Notice, Origin, joined
from .subscription import Subscription

__all__ = [
    "Cursor",
    "Draft",
    "Flush",
    "Form",
    "Gap",
    "Heartbeat",
    "HistoryLimits",
    "Hub",
    "HubLimits",
    "Item",
    "MemoryBroker",
    "Message",
    "Notice",
    "Origin",
    "Subscription",
    "TopicInfo",
    "TopicsFullError",
    "joined",
    "run_ticking_feed",
]

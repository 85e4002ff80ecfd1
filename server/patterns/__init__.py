"""Nursery patterns.  Each file needs Trio alone, and works as a copy."""

from .ticker import Ticker

__all__ = ["Ticker"]

"""The memory ceiling: the most that all buffers together can hold.

The one idea: a ceiling is a list of components, each so many things of so many bytes at most. What is bounded
elsewhere is counted by one more component; how many and how large they are is left to `model`.
"""

from dataclasses import dataclass

from server.settings.kinds import GIB, KIB, MIB


@dataclass(frozen=True, slots=True)
class Component:
    """One kind of buffer: `count` of them at most, of `each` bytes at most."""

    name: str
    count: int
    each: int

    @property
    def total(self) -> int:
        return self.count * self.each


@dataclass(frozen=True, slots=True)
class MemoryCeiling:
    """The most memory the buffers of these settings can take, in bytes; what is really used is far less."""

    components: tuple[Component, ...]

    @property
    def total(self) -> int:
        return sum(component.total for component in self.components)

    def describe(self) -> str:
        """A line a component and one for the total, for people and in bytes."""
        width = max(len(name) for name in ("total", *(component.name for component in self.components)))
        lines = ["memory ceiling (if every buffer were full at once)"]
        for component in self.components:
            product = f"{component.count} x {_human(component.each)} = {_human(component.total)}"
            lines.append(f"  {component.name:<{width}}  {product} ({component.total} bytes)")
        lines.append(f"  {'total':<{width}}  {_human(self.total)} ({self.total} bytes)")
        return "\n".join(lines)


def _human(size: int) -> str:
    """`size` bytes to three digits, for people."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size < 1000 * factor else f"{size / factor:.0f} {unit}"
    return f"{size} bytes"

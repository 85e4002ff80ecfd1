"""The table in docs/reference/settings.md, made from the declarations in `server.settings`.

`python -m tests.support.settings_page` writes it anew between the two markers of the page; the words around
it are written by hand. tests/test_settings.py fails where page and code differ.
"""

from pathlib import Path

from server.settings.model import settable_options
from server.settings.sources import flag, variable

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
BEGIN = "<!-- begin settings -->\n"
END = "<!-- end settings -->\n"


def settings_table() -> str:
    """A Markdown table with one row a setting, in the order of `--help`."""
    rows = ["| flag | variable | value | default | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, option in settable_options().items():
        wanted = option.kind.wanted + ("; repeatable" if option.repeatable else "")
        default = option.show(option.default)
        rows.append(f"| `{flag(name)}` | `{variable(name)}` | {wanted} | `{default}` | {option.help} |")
    return "\n".join(rows) + "\n"


def page_with_table(page: str) -> str:
    """`page` with what is between its markers replaced by the table."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + begin + settings_table() + end + after


def main() -> None:
    PAGE.write_text(page_with_table(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()

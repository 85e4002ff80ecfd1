"""The table in docs/reference/errors.md, made from the codes in `server.wire.problem`.

`python -m tests.support.errors_page` writes it anew between the two markers of the page; the words around it
are written by hand. tests/wire/test_problem.py fails where page and code differ.
"""

from pathlib import Path

from server.wire.problem import CODES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
BEGIN = "<!-- begin errors -->\n"
END = "<!-- end errors -->\n"


def errors_table() -> str:
    """A Markdown table with one row a code, by status."""
    rows = ["| status | code | title |", "| --- | --- | --- |"]
    by_status = sorted(CODES.items(), key=lambda item: item[1].status)
    rows += [f"| {status} | `{code}` | {title} |" for code, (status, title) in by_status]
    return "\n".join(rows) + "\n"


def page_with_table(page: str) -> str:
    """`page` with what is between its markers replaced by the table."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + begin + errors_table() + end + after


def main() -> None:
    PAGE.write_text(page_with_table(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()

"""What SQLite and JSON cost without a server: rows from stdin into a table, or from the table to stdout.

``plain_rows in FILE`` reads NDJSON, ``plain_rows out FILE`` writes it.  Written as the documentation of apsw
writes such a thing, in one transaction, decoded and encoded by msgspec.
"""

import sys
from collections.abc import Iterator

import apsw
import msgspec

COLUMNS = ("id", "name", "city", "amount", "at", "note")


def read_in(connection: apsw.Connection) -> None:
    """All of stdin as rows."""
    decode = msgspec.json.Decoder(dict[str, str | int | float | None]).decode

    def rows() -> Iterator[tuple[str | int | float | None, ...]]:
        for line in sys.stdin.buffer:
            yield tuple(decode(line).values())

    with connection:
        connection.execute(f"CREATE TABLE bench ({', '.join(COLUMNS)})")
        connection.executemany("INSERT INTO bench VALUES (?, ?, ?, ?, ?, ?)", rows())


def write_out(connection: apsw.Connection) -> None:
    """All rows to stdout."""
    encode = msgspec.json.Encoder().encode
    output = sys.stdout.buffer
    for row in connection.execute("SELECT * FROM bench ORDER BY rowid"):
        output.write(encode(dict(zip(COLUMNS, row, strict=True))) + b"\n")
    output.flush()


def main() -> None:
    direction, path = sys.argv[1:]
    connection = apsw.Connection(path)
    connection.pragma("journal_mode", "wal")
    (read_in if direction == "in" else write_out)(connection)
    connection.close()


if __name__ == "__main__":
    main()

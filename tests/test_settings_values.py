"""What each kind of setting takes and refuses, and in which words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.settings import Address, is_loopback
from server.settings.kinds import GIB, KIB, MIB, Size, show_size
from server.settings.model import settable_options
from server.settings.sources import flag, variable
from tests.support.settings_loading import load, refusal


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (seconds, bad)
            for seconds in ("heartbeat", "keep_alive")
            for bad in ("0", "-1", "nan", "inf", "1e9")
        ),
        ("heartbeat", "15s"),
        ("write_deadline", ""),
        ("drain_seconds", "-0.1"),
        ("drain_notice", "3601"),
        ("max_connections", "0"),
        ("max_connections", "1.5"),
        ("max_topics", "-1"),
        ("max_topics", "9" * 5_000),
        ("replay_max", "0"),
        ("replay_max", "1000001"),
        ("max_body", "0"),
        ("max_body", "2GiB"),
        ("max_body", "1.5MiB"),
        ("max_body", "1 TiB"),
        ("log_format", "xml"),
        ("certfile", ""),
        *(
            ("bind", bad)
            for bad in (
                "8000",
                "localhost",
                "localhost:http",
                "localhost:65536",
                "::1:8000",
                "[::1]",
                "[::x]:80",
                "127.1:80",
                "a b:80",
                "http://localhost:80",
            )
        ),
        *(
            ("allow_origin", bad)
            for bad in (
                "a.example",
                "null",
                "https://",
                "https://a.example/",
                "https://a.example:99999",
                "https://*.example",
                "https://ü.example",
                "https://user@a.example",
            )
        ),
        *(("allow_host", bad) for bad in ("a.example:80", "*", "-a.example", "a..example", "x" * 300)),
    ],
)
def test_a_bad_value_is_refused_in_the_name_of_its_flag(name: str, value: str) -> None:
    message = refusal(f"{flag(name)}={value}")
    assert message.startswith(f"{flag(name)}: {value[:60]!r}"[:60])
    assert message.endswith(f"is not {settable_options()[name].kind.wanted}")


@pytest.mark.parametrize(
    "name", ["heartbeat", "max_connections", "max_body", "bind", "allow_origin", "insecure"]
)
def test_a_bad_value_is_refused_in_the_name_of_its_variable(name: str) -> None:
    assert refusal(**{name.upper(): "?"}).startswith(f"{variable(name)}: '?' is not ")


@pytest.mark.parametrize("name", ["drain_seconds", "drain_notice"])
def test_draining_may_take_no_time(name: str) -> None:
    assert getattr(load(flag(name), "0"), name) == 0.0


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1k", 1_000),
        ("2M", 2_000_000),
        ("1G", 10**9),
        ("1KiB", KIB),
        ("3 MiB", 3 * MIB),
        ("1gib", GIB),
    ],
)
def test_sizes_have_binary_and_decimal_suffixes(text: str, size: int) -> None:
    assert load("--max-body", text).max_body == size


@given(st.integers(1, GIB))
def test_a_size_as_shown_reads_back_the_same(size: int) -> None:
    assert Size().parse(show_size(size)) == size


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_an_address_as_shown_reads_back_the_same(host: object, port: int) -> None:
    address = Address.parse(f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}")
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("word", "value"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("no", False)]
)
def test_a_switch_in_the_environment_is_a_word(word: str, value: bool) -> None:
    assert load(INSECURE=word).insecure is value


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("*", "*"),
        ("HTTPS://App.Example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("http://[::1]:80", "http://[::1]"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_an_origin_is_kept_as_a_browser_would_send_it(given: str, kept: str) -> None:
    assert load("--allow-origin", given).allow_origin == (kept,)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"]
)
def test_loopback_is_what_only_this_machine_reaches(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "::ffff:0.0.0.0", "10.0.0.1", "127.1", "localhost.example", "a"]
)
def test_all_else_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)

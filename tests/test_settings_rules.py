"""Rules for topics and rooms: how they are written, which one applies, what they cost, what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.settings import CommandLine, Component, Settings, SettingsError, TopicRule
from server.settings.kinds import GIB, KIB, MIB
from server.settings.model import declared_options
from server.settings.rules import ROOM_KEYS, TOPIC_KEYS, Rule
from tests.support.settings_loading import load, refusal


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "app.toml"


def from_toml(config: Path, text: str) -> Settings:
    config.write_text(text, "utf-8")
    return load("--config", str(config))


# How a rule is written


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("orders.*:capacity=10", TopicRule("orders.*", capacity=10)),
        ("a:capacity_bytes=2MiB,overflow=latest", TopicRule("a", capacity_bytes=2 * MIB, overflow="latest")),
        ("a:overflow=disconnect", TopicRule("a", overflow="disconnect")),
        ("a:overflow=drop_oldest", TopicRule("a", overflow="drop_oldest")),
        ("a:overflow=block", TopicRule("a", overflow="block")),
        ("a:history=1,history_bytes=1 KiB", TopicRule("a", history=1, history_bytes=KIB)),
        ("a:history_seconds=0.5", TopicRule("a", history_seconds=0.5)),
        ("a:history-seconds=86400", TopicRule("a", history_seconds=86_400.0)),
        ("a:compress=yes", TopicRule("a", compress=True)),
        ("a:compress=OFF", TopicRule("a", compress=False)),
        (" a : capacity = 1 , history = 2 ", TopicRule("a", capacity=1, history=2)),
        ("eu:orders:*:capacity=1", TopicRule("eu:orders:*", capacity=1)),
        ("a::capacity=1", TopicRule("a:", capacity=1)),
        ("[a-f]?[!x]*:capacity=1", TopicRule("[a-f]?[!x]*", capacity=1)),
    ],
)
def test_a_rule_is_a_pattern_and_keys(text: str, rule: TopicRule) -> None:
    assert load("--topic", text).topic == (rule,)
    assert load(TOPIC=text).topic == (rule,)


def test_a_flag_for_each_rule_and_their_order_is_kept() -> None:
    settings = load("--topic", "b:capacity=1", "--topic", "a:capacity=2", TOPIC="c:capacity=3")
    assert settings.topic == (TopicRule("b", capacity=1), TopicRule("a", capacity=2))


def test_rules_in_the_environment_are_parted_by_semicolons() -> None:
    settings = load(TOPIC="b:capacity=1,history=5; a:capacity=2;", ROOM="r:history=3")
    assert settings.topic == (TopicRule("b", capacity=1, history=5), TopicRule("a", capacity=2))
    assert settings.room == (TopicRule("r", history=3),)


def test_the_stock_servers_process_reads_rules_too() -> None:
    settings = Settings.from_environment({"SLUICEWAY_TOPIC": "a:capacity=1;b:capacity=2"})
    assert [rule.capacity for rule in settings.topic] == [1, 2]


def test_a_rule_in_a_file_is_a_table_or_a_string(config: Path) -> None:
    text = '[[topic]]\npattern = "a.*"\ncapacity-bytes = "2 MiB"\nhistory_bytes = 1\ncompress = true\n'
    rule = TopicRule("a.*", capacity_bytes=2 * MIB, history_bytes=1, compress=True)
    assert from_toml(config, text).topic == (rule,)
    assert from_toml(config, f"topic = ['{Rule(TOPIC_KEYS).show(rule)}']").topic == (rule,)
    mixed = 'topic = ["b:capacity=1", {pattern = "c", overflow = "latest"}]'
    assert from_toml(config, mixed).topic == (TopicRule("b", capacity=1), TopicRule("c", overflow="latest"))


def test_python_code_gives_rules_as_values_or_as_text() -> None:
    settings = Settings(topic=(TopicRule("a", capacity=1), "b:capacity=2"))  # type: ignore[arg-type]
    assert settings.topic == (TopicRule("a", capacity=1), TopicRule("b", capacity=2))


_patterns = st.from_regex(r"(?:[A-Za-z0-9._:*?-]|\[!?[A-Za-z0-9._:-]{1,4}\]){1,20}", fullmatch=True)
_sizes = st.integers(1, GIB)
_counts = st.integers(1, 1_000_000)
_rules = st.builds(
    TopicRule,
    _patterns,
    capacity=st.none() | _counts,
    capacity_bytes=st.none() | _sizes,
    overflow=st.none() | st.sampled_from(("disconnect", "drop_oldest", "latest", "block")),
    history=st.none() | _counts,
    history_bytes=st.none() | _sizes,
    history_seconds=st.none() | st.floats(0, 86_400, exclude_min=True),
    compress=st.none() | st.booleans(),
).filter(lambda rule: bool(rule.given))


@given(_rules)
def test_a_rule_as_shown_reads_back_the_same(rule: TopicRule) -> None:
    kind = Rule(TOPIC_KEYS)
    assert kind.parse(kind.show(rule)) == rule
    assert kind.check(rule) == rule
    assert kind.check({"pattern": rule.pattern, **rule.given}) == rule


# What is refused


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("orders.*", "is not a rule PATTERN:key=value,... with one key or more"),
        ("orders.*:", "is not a rule PATTERN:key=value,... with one key or more"),
        ("capacity=1", "is not a rule PATTERN:key=value,... with one key or more"),
        (":capacity=1", "'' matches no name: a pattern is made of A-Z"),
        ("a/b:capacity=1", "'a/b' matches no name: a pattern is made of A-Z"),
        ("a b:capacity=1", "'a b' matches no name"),
        ("[a:capacity=1", "'[a' matches no name"),
        ("a]:capacity=1", "'a]' matches no name"),
        ("[]:capacity=1", "'[]' matches no name"),
        ("ü:capacity=1", "'ü' matches no name"),
        ("a:capacty=1", "unknown key 'capacty' (did you mean capacity?)"),
        ("a:overflow=latest,hist=1", "unknown key 'hist' (did you mean history?)"),
        ("a:x=1", "unknown key 'x' (the keys are capacity, capacity_bytes, overflow, "),
        ("a:=1", "unknown key '' (the keys are "),
        ("a:pattern=b", "unknown key 'pattern' (the keys are "),
        ("a:capacity=1,b:history=1", "unknown key 'b:history' (each rule has a flag of its own"),
        ("a:capacity=1,latest", "'latest' is not key=value"),
        ("a:capacity=1,", "'' is not key=value"),
        ("a:capacity=1,capacity=2", "capacity is given twice"),
        ("a:history-bytes=1,history_bytes=2", "history_bytes is given twice"),
        ("a:capacity=", "capacity '' is not a whole number from 1 to 1000000"),
        ("a:capacity=0", "capacity '0' is not a whole number from 1 to 1000000"),
        ("a:capacity=1000001", "capacity '1000001' is not a whole number from 1 to 1000000"),
        ("a:capacity=1=2", "capacity '1=2' is not a whole number"),
        ("a:capacity_bytes=2GiB", "capacity_bytes '2GiB' is not a size up to 1 GiB"),
        ("a:overflow=drop", "overflow 'drop' is not disconnect or drop_oldest or latest or block"),
        ("a:history=1.5", "history '1.5' is not a whole number"),
        ("a:history_bytes=0", "history_bytes '0' is not a size up to 1 GiB"),
        ("a:history_seconds=0", "history_seconds '0' is not a number of seconds above 0 and at most 86400"),
        ("a:history_seconds=nan", "history_seconds 'nan' is not a number of seconds"),
        ("a:compress=gzip", "compress 'gzip' is not true or false"),
    ],
)
def test_a_bad_rule_is_refused_by_name_with_the_rule_and_what_is_wanted(text: str, complaint: str) -> None:
    for name, message in (("--topic", refusal("--topic", text)), ("SLUICEWAY_TOPIC", refusal(TOPIC=text))):
        assert message.startswith(f"{name}: {text!r}")
        assert complaint in message


def test_a_long_rule_is_cut_in_the_complaint() -> None:
    message = refusal("--topic", f"a:capacity={'9' * 5_000}")
    assert "capacity '999" in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[topic]]\ncapacity = 1", "{'capacity': 1}: it needs a pattern, a string"),
        ("[[topic]]\npattern = 1\ncapacity = 1", "it needs a pattern, a string"),
        ("[[topic]]\npattern = 'a'", "it says nothing: one key or more is wanted, of capacity, "),
        ("[[topic]]\npattern = 'a/b'\ncapacity = 1", "'a/b' matches no name"),
        ("[[topic]]\npattern = 'a'\ncapacty = 1", "unknown key 'capacty' (did you mean capacity?)"),
        ("[[topic]]\npattern = 'a'\ncapacity = '1'", "capacity '1' is not a whole number"),
        ("[[topic]]\npattern = 'a'\ncapacity = true", "capacity True is not a whole number"),
        ("[[topic]]\npattern = 'a'\ncompress = 'yes'", "compress 'yes' is not true or false"),
        ("[[topic]]\npattern = 'a'\nhistory-bytes = 1\nhistory_bytes = 1", "history_bytes is given twice"),
        ("topic = [1]", "1 is not a rule PATTERN:key=value,... with one key or more"),
        ("topic = 'a:capacity=1'", "is not an array, each of it a rule PATTERN:"),
        ("[topic]\npattern = 'a'\ncapacity = 1", "is not an array, each of it a rule PATTERN:"),
    ],
)
def test_a_bad_rule_in_a_file_is_refused_in_the_name_of_file_and_key(
    config: Path, text: str, complaint: str
) -> None:
    config.write_text(text, "utf-8")
    message = refusal("--config", str(config))
    assert message.startswith(f"{config}: topic: ")
    assert complaint in message


def test_a_bad_rule_in_python_is_refused_in_the_name_of_its_field() -> None:
    with pytest.raises(SettingsError, match=r"^topic: TopicRule\(pattern='a', capacity=0, .*: capacity 0 is"):
        Settings(topic=(TopicRule("a", capacity=0),))
    with pytest.raises(SettingsError, match="it says nothing"):
        Settings(topic=(TopicRule("a"),))


def test_rooms_have_the_same_keys_but_for_compression() -> None:
    assert load("--room", "a:overflow=block").room == (TopicRule("a", overflow="block"),)
    assert "unknown key 'compress' (the keys are capacity, " in refusal("--room", "a:compress=yes")


@pytest.mark.parametrize("first", ["*", "**", "a.*"])
def test_a_rule_that_an_earlier_one_always_wins_over_is_refused(first: str) -> None:
    for name in ("topic", "room"):
        message = refusal(f"--{name}", f"{first}:capacity=1", f"--{name}", "a.*:history=2")
        assert message.startswith(
            f"--{name}: 'a.*: history=2' never applies: '{first}: capacity=1' before it"
        )
    assert (
        len(load("--topic", "a.*:capacity=1", "--room", "a.*:capacity=1", "--topic", "*:capacity=1").topic)
        == 2
    )


# Which rule applies


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("orders", "orders", "orders.new"),
        ("orders.*", "orders.eu.new", "orders"),
        ("orders.*", "orders.", "Orders.new"),
        ("*", "a:b.c-d_e", None),
        ("a?c", "a:c", "ac"),
        ("a?c", "a.c", "abbc"),
        ("sensor:[a-c]", "sensor:b", "sensor:d"),
        ("sensor:[!a-c]", "sensor:d", "sensor:b"),
        ("*.new", "orders.eu.new", "orders.new.eu"),
    ],
)
def test_patterns_are_shell_globs_over_the_whole_name(pattern: str, matching: str, other: str | None) -> None:
    settings = load("--topic", f"{pattern}:capacity=7", "--room", f"{pattern}:capacity=8")
    assert (settings.topic_rule(matching).capacity, settings.room_rule(matching).capacity) == (7, 8)
    if other is not None:
        assert (settings.topic_rule(other).capacity, settings.room_rule(other).capacity) == (1_000, 1_000)


def test_only_the_first_rule_that_matches_counts() -> None:
    settings = load("--topic", "orders.*:capacity=1", "--topic", "*:capacity=2,history=3")
    assert (settings.topic_rule("orders.a").capacity, settings.topic_rule("orders.a").history) == (1, 1_000)
    assert (settings.topic_rule("b").capacity, settings.topic_rule("b").history) == (2, 3)


def test_what_no_rule_says_is_as_by_default() -> None:
    for effective in (Settings().topic_rule("a"), Settings().room_rule("a")):
        assert (effective.capacity, effective.capacity_bytes) == (1_000, MIB)
        assert (effective.overflow, effective.compress) == ("disconnect", False)
        assert (effective.history, effective.history_bytes, effective.history_seconds) == (
            1_000,
            8 * MIB,
            300.0,
        )


def test_a_rule_is_laid_over_the_defaults_of_these_settings() -> None:
    settings = Settings(capacity=5, overflow="latest", compress=True, topic=(TopicRule("a", history=1),))
    effective = settings.topic_rule("a")
    assert (effective.capacity, effective.overflow, effective.history) == (5, "latest", 1)
    assert effective.compress


def test_a_rule_may_switch_off_what_is_on_by_default() -> None:
    settings = Settings(compress=True, topic=(TopicRule("a", compress=False),))
    assert not settings.topic_rule("a").compress
    assert settings.topic_rule("b").compress


def test_a_room_says_what_its_members_are_told_of_each_other() -> None:
    settings = Settings.load(["--room", "arena.*:presence=count", "--room", "mirror:presence=off"], {})
    modes = [settings.room_rule(name).presence for name in ("arena.1", "mirror", "lobby")]
    assert modes == ["count", "off", "full"]
    assert "presence 'some' is not " in refusal("--room", "a:presence=some")
    assert "unknown key 'presence'" in refusal("--topic", "a:presence=off")


def test_rooms_are_not_compressed() -> None:
    assert not Settings(compress=True).room_rule("a").compress


def test_rules_of_topics_and_of_rooms_do_not_mix() -> None:
    settings = load("--topic", "*:capacity=1")
    assert settings.room_rule("a").capacity == 1_000


def test_each_key_has_the_bounds_of_the_setting_of_its_name() -> None:
    options = declared_options()
    assert {key: options[key].kind for key in TOPIC_KEYS} == TOPIC_KEYS
    assert TOPIC_KEYS.keys() - ROOM_KEYS.keys() == {"compress"}


# What the check prints


def test_the_check_prints_each_rule_on_a_line_with_where_it_came_from() -> None:
    argv = [
        "--topic",
        "a.*:capacity_bytes=2048,overflow=latest",
        "--topic",
        "*:compress=1,history_seconds=60",
    ]
    lines = CommandLine.load(argv, {"SLUICEWAY_ROOM": "r:history=5"}).describe().splitlines()
    assert "topic = a.*: capacity_bytes=2 KiB, overflow=latest  (flag, --topic)" in lines
    assert "topic = *: history_seconds=60, compress=true  (flag, --topic)" in lines
    assert "room = r: history=5  (environment, SLUICEWAY_ROOM)" in lines
    assert "room = none  (default)" in CommandLine.load([], {}).describe().splitlines()


@pytest.mark.parametrize(
    ("argv", "connection", "topic"),
    [
        (["--topic", "a:capacity_bytes=1KiB,history_bytes=1KiB"], 4 * MIB, 8 * MIB),
        (["--topic", "a:capacity_bytes=5MiB"], 5 * MIB, 8 * MIB),
        (["--room", "a:capacity_bytes=6MiB,history_bytes=9MiB"], 6 * MIB, 9 * MIB),
        (["--topic", "a:history_bytes=9MiB", "--topic", "b:history_bytes=10MiB"], 4 * MIB, 10 * MIB),
        (["--topic", "*:history_bytes=1MiB"], 4 * MIB, 8 * MIB),
        (["--topic", "*:history_bytes=1MiB", "--room", "*:history_bytes=2MiB"], 4 * MIB, 2 * MIB),
        (["--topic", "*:history=1", "--room", "*:history_bytes=2MiB"], 4 * MIB, 8 * MIB),
        (["--topic", "a:capacity_bytes=5MiB", "--max-body", "7MiB"], 14 * MIB + KIB, 8 * MIB),
    ],
)
def test_the_ceiling_takes_the_most_that_any_rule_allows(
    argv: list[str], connection: int, topic: int
) -> None:
    of_topics = load(*argv).memory_ceiling().components[:5]
    assert of_topics == (
        Component("connections", 10_000, connection + 64 * KIB),
        Component("encoders", 10_000, 448 * KIB),
        Component("history", 10_000, topic),
        Component("idempotency", 1, 64 * MIB),
        Component("sessions", 1, 256 * MIB),
    )


def test_help_shows_a_rule_to_copy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        CommandLine.load(["--help"], {})
    text = " ".join(capsys.readouterr().out.split())
    assert "--topic PATTERN:KEY=VALUE,... what holds for" in text
    assert "'orders.*:capacity=100,overflow=latest'" in text
    assert all(key in text for key in TOPIC_KEYS)
    assert load("--topic", "orders.*:capacity=100,overflow=latest").topic_rule("orders.a").capacity == 100

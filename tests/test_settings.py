"""What an operator is promised about settings: where they come from, what is refused, and in which words."""

import dataclasses
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from server.settings import Address, CommandLine, Component, MemoryCeiling, Settings, SettingsError
from server.settings.kinds import KIB, MIB
from server.settings.model import declared_options, settable_options
from server.settings.rules import TOPIC_KEYS
from server.settings.sources import flag, variable
from tests.support.settings_loading import load, refusal
from tests.support.settings_page import PAGE, page_with_table


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "app.toml"


def from_toml(config: Path, text: str) -> Settings:
    config.write_text(text, "utf-8")
    return load("--config", str(config))


def toml_refusal(config: Path, text: str) -> str:
    config.write_text(text, "utf-8")
    return refusal("--config", str(config))


# Defaults and precedence


def test_without_any_source_the_defaults_hold() -> None:
    assert load() == Settings()
    assert Settings().bind == (Address("127.0.0.1", 8000),)
    assert (Settings().heartbeat, Settings().write_deadline, Settings().drain_seconds) == (15.0, 30.0, 25.0)
    assert (Settings().max_body, Settings().max_connections, Settings().keep_alive) == (MIB, 10_000, 60.0)


def test_every_default_is_a_value_its_own_environment_variable_would_accept() -> None:
    environ = {
        variable(name): option.show(option.default)
        for name, option in settable_options().items()
        if option.default not in (None, ())
    }
    assert Settings.from_environment(environ) == Settings()


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(config: Path) -> None:
    config.write_text("heartbeat = 1\nkeep-alive = 1\ndrain-seconds = 1\n", "utf-8")
    argv = ("--config", str(config), "--heartbeat", "3")
    settings = load(*argv, HEARTBEAT="2", KEEP_ALIVE="2")
    assert (settings.heartbeat, settings.keep_alive, settings.drain_seconds) == (3.0, 2.0, 1.0)
    assert settings.write_deadline == 30.0


def test_a_repeatable_flag_replaces_the_default_and_lower_sources() -> None:
    settings = load("--bind", "127.0.0.1:0", "--bind", "[::1]:9000", BIND="127.0.0.1:1")
    assert settings.bind == (Address("127.0.0.1", 0), Address("::1", 9000))


def test_repeatable_settings_are_comma_separated_in_the_environment() -> None:
    assert load(ALLOW_HOST="a.example, b.example").allow_host == ("a.example", "b.example")


def test_a_wrong_value_is_refused_even_where_a_flag_would_override_it() -> None:
    assert "SLUICEWAY_HEARTBEAT" in refusal("--heartbeat", "3", HEARTBEAT="soon")


def test_an_empty_variable_counts_as_unset() -> None:
    assert load(CERTFILE="", BIND=" ", HEARTBEAT="") == Settings()


def test_toml_keys_may_have_hyphens_or_underscores(config: Path) -> None:
    settings = from_toml(config, "write-deadline = 5\ndrain_notice = 2.5\n")
    assert (settings.write_deadline, settings.drain_notice) == (5.0, 2.5)


def test_toml_arrays_strings_and_booleans_are_read(config: Path) -> None:
    text = 'bind = ["[::1]:0"]\nmax-body = "2MiB"\ninsecure = true\nlog-format = "json"\nmax-topics = 5\n'
    settings = from_toml(config, text)
    assert settings.bind == (Address("::1", 0),)
    assert (settings.max_body, settings.insecure, settings.max_topics) == (2 * MIB, True, 5)
    assert settings.log_format == "json"


def test_the_environment_alone_is_enough_for_a_foreign_command_line() -> None:
    assert Settings.from_environment({"SLUICEWAY_HEARTBEAT": "4", "HOME": "x"}).heartbeat == 4.0


# The config file


@pytest.mark.parametrize(
    "line",
    [
        'heartbeat = "15"',
        "heartbeat = true",
        "heartbeat = nan",
        "max-connections = 10.0",
        "max-body = 1.5",
        "insecure = 1",
        'insecure = "yes"',
        "log-format = 1",
        "certfile = ['a.pem']",
        "bind = 8000",
        'bind = "127.0.0.1:8000"',
        "bind = [8000]",
        "bind = []",
        "allow-origin = {a = 1}",
        "keep_alive = 1979-05-27",
    ],
)
def test_a_toml_value_of_the_wrong_type_is_refused_in_the_name_of_file_and_key(
    config: Path, line: str
) -> None:
    assert toml_refusal(config, line).startswith(f"{config}: {line.partition(' ')[0]}: ")


def test_a_key_with_hyphen_and_underscore_at_once_is_refused(config: Path) -> None:
    assert "given twice" in toml_refusal(config, "max-body = 1\nmax_body = 2\n")


@pytest.mark.parametrize("content", [b"heartbeat = ", b"\xff = 1", b"a = 1\na = 2", b"heartbeat: 15"])
def test_a_malformed_config_file_is_refused_by_name(config: Path, content: bytes) -> None:
    config.write_bytes(content)
    message = refusal("--config", str(config))
    assert message.startswith(f"--config: '{config}' is not a TOML file: ")


def test_a_config_file_that_does_not_exist_is_refused_by_name(config: Path) -> None:
    assert refusal("--config", str(config)) == f"--config: cannot read '{config}': No such file or directory"


def test_a_directory_is_no_config_file(tmp_path: Path) -> None:
    assert "Is a directory" in refusal("--config", str(tmp_path))


# Unknown names

LATER = [
    "auth-secret",
    "broker",
    "admin-bind",
    "overflow",
    "replay-bytes",
    "rooms-bind",
    "capacity",
    "history",
]


@pytest.mark.parametrize("name", LATER)
def test_an_unknown_flag_is_named_and_its_value_kept_out_of_the_message(name: str) -> None:
    message = refusal(f"--{name}=hunter2")
    assert f"unknown flag --{name} " in message
    assert "hunter2" not in message


@pytest.mark.parametrize("name", [*LATER, "config", "check", "version"])
def test_an_unknown_variable_is_named_and_its_value_kept_out_of_the_message(name: str) -> None:
    known_as = name.upper().replace("-", "_")
    message = refusal(**{known_as: "hunter2"})
    assert f"unknown environment variable SLUICEWAY_{known_as} " in message
    assert "hunter2" not in message


@pytest.mark.parametrize("name", [*LATER, "config", "check", "version"])
def test_an_unknown_key_is_named_with_its_file(config: Path, name: str) -> None:
    assert f"unknown key in {config}: {name} " in toml_refusal(config, f'{name} = "x"')


def test_a_misspelt_name_gets_the_nearest_one_as_a_hint() -> None:
    assert "did you mean --heartbeat?" in refusal("--hearbeat", "3")
    assert "did you mean SLUICEWAY_MAX_BODY?" in refusal(MAXBODY="3")


def test_flags_are_not_abbreviated() -> None:
    assert "unknown flag --heart " in refusal("--heart", "3")


def test_an_argument_without_a_flag_is_refused() -> None:
    assert "unexpected argument 'app'" in refusal("app")


# Settings that depend on each other


@pytest.mark.parametrize("bind", [":8000", "0.0.0.0:8000", "[::]:8000", "192.0.2.1:80", "example.org:80"])
def test_an_address_outside_loopback_needs_insecure(bind: str) -> None:
    message = refusal("--bind", "127.0.0.1:0", "--bind", bind)
    assert message.startswith(f"--bind: '{bind}' can be reached")
    assert "no authentication" in message
    assert "--insecure" in message
    assert len(load("--insecure", "--bind", bind).bind) == 1


def test_the_complaint_about_an_open_address_names_the_source_it_came_from() -> None:
    assert refusal(BIND=":80").startswith("SLUICEWAY_BIND: ':80' can be reached")


@pytest.fixture
def pem(tmp_path: Path) -> str:
    path = tmp_path / "server.pem"
    path.touch()
    return str(path)


def test_certificate_and_key_come_together(pem: str) -> None:
    settings = load("--certfile", pem, KEYFILE=pem)
    assert (settings.certfile, settings.keyfile) == (pem, pem)


def test_a_certificate_without_a_key_is_refused(pem: str) -> None:
    assert refusal(CERTFILE=pem) == (
        f"SLUICEWAY_CERTFILE: '{pem}' is of no use without --keyfile: TLS needs both files"
    )


def test_a_key_without_a_certificate_is_refused(pem: str) -> None:
    assert "of no use without --certfile" in refusal("--keyfile", pem)


def test_a_missing_key_file_is_refused_by_name(pem: str) -> None:
    message = refusal("--certfile", pem, "--keyfile", f"{pem}.gone")
    assert message.startswith(f"--keyfile: '{pem}.gone' does not exist")


def test_a_directory_is_no_certificate(pem: str, tmp_path: Path) -> None:
    assert "is a directory" in refusal("--certfile", str(tmp_path), "--keyfile", pem)


def test_a_key_file_without_permission_is_refused(pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Said by the system's answer rather than by a mode: root, as whom checks may run, may read everything.
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert "may not be read" in refusal("--certfile", pem, "--keyfile", pem)


# Settings made in Python


def test_python_code_may_set_what_has_no_flag() -> None:
    settings = Settings(capacity=5, capacity_bytes=KIB, history=7, history_seconds=60, history_bytes=MIB)
    assert (settings.capacity, settings.history, settings.history_seconds) == (5, 7, 60.0)


def test_settings_made_in_python_are_checked_in_the_name_of_their_field() -> None:
    with pytest.raises(SettingsError, match=r"^heartbeat: 0 is not a number of seconds above 0"):
        Settings(heartbeat=0)
    with pytest.raises(SettingsError, match="no authentication"):
        Settings(bind=(Address("", 80),))


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().heartbeat = 1.0  # type: ignore[misc]


# The command line


def test_check_is_asked_for_on_the_command_line() -> None:
    assert CommandLine.load(["--check"], {}).check
    assert not CommandLine.load([], {}).check


def test_a_mistake_on_the_command_line_exits_with_2_and_one_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        CommandLine.load_or_exit(["--heartbeat", "0"], {})
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: sluiceway ")
    assert captured.err.splitlines()[-1].startswith(
        "sluiceway: error: --heartbeat: '0' is not a number of seconds"
    )


def test_a_flag_without_its_value_is_refused() -> None:
    assert refusal("--heartbeat") == "argument --heartbeat: expected one argument"


def test_help_lists_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        CommandLine.load(["--help"], {})
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, option in settable_options().items():
        assert re.search(rf"{flag(name)} .*?\(default: {re.escape(option.show(option.default))}[;)]", text)


def test_version_prints_the_name_and_exits(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        CommandLine.load(["--version"], {})
    assert caught.value.code == 0
    assert re.fullmatch(r"sluiceway (unknown|\d+\.\d+\S*)\n", capsys.readouterr().out)


def test_the_check_says_where_each_setting_came_from(config: Path) -> None:
    config.write_text('allow-host = ["a.example", "b.example"]\n', "utf-8")
    argv = ["--config", str(config), "--max-body", "2MiB"]
    lines = CommandLine.load(argv, {"SLUICEWAY_HEARTBEAT": "7.5"}).describe().splitlines()
    assert "max_body = 2 MiB  (flag, --max-body)" in lines
    assert "heartbeat = 7.5  (environment, SLUICEWAY_HEARTBEAT)" in lines
    assert f"allow_host = a.example,b.example  (file, {config}: allow-host)" in lines
    assert "keep_alive = 60  (default)" in lines
    assert "capacity = 1000  (fixed)" in lines


def test_the_check_shows_what_one_resume_and_one_connection_may_take() -> None:
    lines = CommandLine.load(["--replay-max", "500"], {}).describe().splitlines()
    assert "replay_max = 500  (flag, --replay-max)" in lines
    assert "replay_bytes = 16 MiB  (fixed)" in lines
    assert "connection_queue = 10000  (fixed)" in lines
    assert "connection_bytes = 4 MiB  (fixed)" in lines


def test_the_memory_ceiling_adds_up_every_buffer() -> None:
    ceiling = Settings(max_connections=10, max_topics=3).memory_ceiling()
    expected = (
        Component("connections", 10, 4 * MIB + 64 * KIB),
        # Each connection may be compressed, with the coding that takes most: br, which the tests need.
        Component("encoders", 10, 448 * KIB),
        Component("history", 3, 8 * MIB),
        Component("idempotency", 1, 64 * MIB),
        Component("sessions", 1, 256 * MIB),
        Component("documents", 1, 256 * MIB),
        Component("editors", 1000, 6 * 4 * MIB + MIB),
        Component("awareness", 1000, MIB),
        Component("merging", 1, 64 * 4 * MIB),
        # Each as large as an answer may be, beside what was asked.
        Component("generations", 120, (4000 + 16 + 256 + 64) * KIB),
        Component("kept generations", 1, 64 * MIB),
        Component("imports", 4, 24 * MIB),
        Component("readers", 64, 12 * MIB),
        Component("jobs", 1000, 2 * KIB),
    )
    assert ceiling.components == expected
    assert ceiling.total == sum(component.total for component in ceiling.components)


def test_a_connection_holds_a_body_or_a_subscription_whichever_may_be_larger() -> None:
    assert _each_connection(Settings(max_body=8 * MIB)) == 16 * MIB + 65 * KIB
    assert _each_connection(Settings(capacity_bytes=9 * MIB)) == 9 * MIB + 64 * KIB
    assert _each_connection(Settings(connection_bytes=10 * MIB)) == 10 * MIB + 64 * KIB


def test_a_connection_may_have_a_whole_answer_of_a_model_waiting() -> None:
    assert _each_connection(Settings(max_tokens=8000)) == (8000 + 16 + 64) * KIB


def test_a_secret_is_read_from_the_environment_alone_and_never_shown(config: Path) -> None:
    key = "sk-very-secret"
    environ = {"SLUICEWAY_OPENAI_API_KEY": key}
    command = CommandLine.load([], environ)
    assert command.settings.openai_api_key == key
    assert (
        "openai_api_key = given, and not shown  (environment, SLUICEWAY_OPENAI_API_KEY)" in command.describe()
    )
    assert key not in command.describe() + repr(command.settings)
    assert "unknown flag --openai-api-key" in refusal("--openai-api-key", key)
    assert "openai-api-key" in toml_refusal(config, f'openai-api-key = "{key}"')
    wrong = refusal(OPENAI_API_KEY="two words")
    assert "SLUICEWAY_OPENAI_API_KEY" in wrong
    assert "two" not in wrong


def _each_connection(settings: Settings) -> int:
    return settings.memory_ceiling().components[0].each


def test_every_component_of_a_ceiling_is_counted_and_has_a_line() -> None:
    ceiling = MemoryCeiling((Component("a", 2, KIB), Component("far longer", 3, 10)))
    assert ceiling.total == 2 * KIB + 30
    assert ceiling.describe() == (
        "memory ceiling (if every buffer were full at once)\n"
        "  a           2 x 1 KiB = 2 KiB (2048 bytes)\n"
        "  far longer  3 x 10 bytes = 30 bytes (30 bytes)\n"
        "  total       2.03 KiB (2078 bytes)"
    )


def test_the_check_ends_with_the_ceiling() -> None:
    assert CommandLine.load([], {}).describe().endswith(f"\n{Settings().memory_ceiling().describe()}")


# The module and its page


def test_the_settings_package_itself_imports_no_framework() -> None:
    sources = [path.read_text("utf-8") for path in (PAGE.parents[2] / "server" / "settings").glob("*.py")]
    imports = re.findall(r"^\s*(?:from|import) ([\w.]+)", "\n".join(sources), re.MULTILINE)
    ours = {name for name in imports if name.startswith("server.")}
    # The ceiling asks what an encoder costs.
    pure = {"server.wire.content_coding"}
    assert {name.split(".")[1] for name in ours - pure} == {"settings"}
    assert {name.partition(".")[0] for name in imports} - {"server"} <= sys.stdlib_module_names


def test_the_reference_page_is_in_step_with_the_code() -> None:
    page = PAGE.read_text("utf-8")
    assert page == page_with_table(page), "run: python -m tests.support.settings_page"


def test_the_config_files_of_the_reference_page_are_accepted(config: Path) -> None:
    plain, rules = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert from_toml(config, plain).write_deadline == 20.0
    assert from_toml(config, rules).topic_rule("orders.new").overflow == "drop_oldest"
    assert from_toml(config, rules).room_rule("lobby").history == 50


def test_the_rules_of_the_reference_page_mean_the_same_as_flags_and_in_the_environment(config: Path) -> None:
    page = PAGE.read_text("utf-8")
    from_file = from_toml(config, re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[1])
    sessions = "".join(re.findall(r"```console\n(.*?)```", page, re.DOTALL)).replace("\\\n", " ")
    by_flags, by_variable, lowering = sessions.removeprefix("$ ").split("\n$ ")
    assert load(*shlex.split(by_flags)[1:]).topic == from_file.topic
    assert load(TOPIC=shlex.split(by_variable)[0].removeprefix("SLUICEWAY_TOPIC=")).topic == from_file.topic
    lowered = load(*shlex.split(lowering)[1:-1]).memory_ceiling()
    assert lowered.total < Settings(max_connections=1_000).memory_ceiling().total


def test_the_reference_page_has_each_key_of_a_rule_with_its_default() -> None:
    page = PAGE.read_text("utf-8")
    defaults = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| `?([^|`]+?)`? \|", page, re.MULTILINE))
    assert defaults == {
        key: declared_options()[key].show(declared_options()[key].default) for key in TOPIC_KEYS
    }

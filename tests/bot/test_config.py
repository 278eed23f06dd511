from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from bot import config
from bot.config import ConfigError, EngineSettings, LimitSettings, Settings, load
from spectacles_engine.manifest import Manifest
from spectacles_engine.messages import BLENDS, PRESETS, Limits

SHIPPED = Path(__file__).parents[2] / "config.yaml"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("SPECTACLES_") or name.endswith("_BOT_TOKEN"):
            monkeypatch.delenv(name)


def _load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file)


def _complaint(tmp_path: Path, text: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence.removeprefix(f"{tmp_path}/")


def test_stems_of_another_mixer_of_ones_own_are_those_of_another_ensemble(tmp_path: Path) -> None:
    mixer = tmp_path / "mixer.safetensors"
    engine = EngineSettings(mixer=mixer)
    mixer.write_bytes(b"one")
    before = engine.ensemble
    mixer.write_bytes(b"two")
    assert len({EngineSettings().ensemble, before, engine.ensemble}) == 3


def test_stems_of_another_versions_models_are_those_of_another_ensemble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, again = EngineSettings().ensemble, EngineSettings().ensemble
    demucs = Manifest.load().files["lite-demucs.safetensors"].sha256
    other = tmp_path / "manifest.yaml"
    other.write_text(config.MODELS.read_text(encoding="utf-8").replace(demucs, "0" * 64), encoding="utf-8")
    monkeypatch.setattr(config, "MODELS", other)
    assert before == again != EngineSettings().ensemble


def test_the_shipped_file_names_every_setting_with_its_default(tmp_path: Path) -> None:
    assert load(SHIPPED) == load(tmp_path / "missing.yaml") == Settings()
    text = SHIPPED.read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        if name.endswith("_token"):
            assert name not in text.lower()
        else:
            assert f"\n{name}:" in text
            assert all(f"\n  {key}:" in text for key in getattr(field.default.__class__, "model_fields", {}))


def test_an_empty_data_dir_is_the_usual_one_and_not_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text('data_dir: ""\n')
    assert load(tmp_path / "c.yaml").data_folder == Settings().data_folder


def test_choices_are_the_engines() -> None:
    fields = EngineSettings.model_fields
    assert get_args(fields["preset"].annotation) == PRESETS
    assert get_args(fields["blend"].annotation) == BLENDS


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTACLES_WEB__PORT", "9000")
    monkeypatch.setenv("SPECTACLES_WEB__ENABLED", "false")
    monkeypatch.setenv("SPECTACLES_ENGINE__DEVICE", "")
    monkeypatch.setenv("SPECTACLES_TELEGRAM__ALLOWED_CHATS", "[7, -100123]")
    settings = _load(tmp_path, "web: {port: 8000, host: 0.0.0.0}\nengine: {preset: studio}\nlimits:\n")
    assert (settings.web.port, settings.web.host, settings.web.enabled) == (9000, "0.0.0.0", False)
    assert (settings.engine.preset, settings.engine.device) == ("studio", "auto")
    assert settings.telegram.allowed_chats == (7, -100123)


def test_another_file_and_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("data_dir: ~/here\n", encoding="utf-8")
    monkeypatch.setenv("SPECTACLES_CONFIG", str(other))
    assert load(SHIPPED).data_folder == Path.home() / "here"
    monkeypatch.setenv("SPECTACLES_DATA_DIR", str(tmp_path))
    assert load(SHIPPED).data_folder == tmp_path
    other.unlink()
    with pytest.raises(ConfigError, match=r"other\.yaml cannot be read: No such file"):
        load(SHIPPED)


def test_the_default_folder_is_the_platforms() -> None:
    assert Settings().data_folder.name == "spectacles"


def test_who_has_no_home_is_asked_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTACLES_DATA_DIR", "~nobody-of-that-name/data")
    assert "there is no home folder for the data: set data_dir (SPECTACLES_DATA_DIR)" in _complaint(tmp_path)
    monkeypatch.delenv("SPECTACLES_DATA_DIR")
    # a user who is in no list, as in a container
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    for name in ("HOME", "USERPROFILE", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert "there is no home folder" in _complaint(tmp_path)


def test_the_engine_holds_songs_to_what_is_set() -> None:
    assert LimitSettings(longest_song_minutes=2, decode_deadline_s=9).of_a_song == Limits(120, 9)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().web.port = 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("web: {port: many}", "config.yaml: web.port is 'many', but must be a valid integer"),
        ("web: {port: 70000}", "config.yaml: web.port is '70000', but must be less than or equal to 65535"),
        ("engine: {preset: big}", "config.yaml: engine.preset is 'big', but must be 'lite' or 'studio'"),
        ("limits: {decode_deadline_s: .inf}", "limits.decode_deadline_s is 'inf', but must be a finite number"),
        ("web: {2: x}", "config.yaml: web.2: there is no such setting, web has only enabled, host, port"),
        ("web: {prot: 1}", "config.yaml: web.prot: there is no such setting, web has only enabled, host, port"),
        ("wbe: {port: 1}", "there is no setting wbe, only data_dir, engine, limits, storage, web, telegram, discord"),
        ("_env_file: x", "there is no setting _env_file"),
        ("1: x", "there is no setting 1"),
        ("web: {access_code: 12345}", "config.yaml: web.access_code must be text (digits alone need quotes)"),
        ("web: {host: ''}", "config.yaml: web.host is '', but must be some text"),
        ("telegram: {allowed_chats: 5}", "telegram.allowed_chats is '5', but must be a list, like [1, 2]"),
        ("data_dir: [x]", "config.yaml: data_dir is \"['x']\", but must be a path"),
        ('data_dir: "D:\\0songs"', "config.yaml: data_dir is 'D:\\x00songs', but must be a path"),
        ('engine: {mixer: "a\\0"}', "config.yaml: engine.mixer is 'a\\x00', but must be a path"),
        ("limits: {largest_file_mb: 1e308}", "limits.largest_file_mb is '1e308', but must be less than or equal to 1"),
        ("telegram: {webhook_host: ''}", "telegram.webhook_host is '', but must be some text"),
        ("data_dir: off", "config.yaml: data_dir is 'False', but must be a path"),
        ("data_dir: 0", "config.yaml: data_dir is '0', but must be a path"),
        ("data_dir: []", "config.yaml: data_dir is '[]', but must be a path"),
        ("data_dir: {}", "config.yaml: data_dir is '{}', but must be a path"),
        ("web: {port: true}", "config.yaml: web.port is 'True', but must be a number"),
        ("storage: {keep_hours: yes}", "config.yaml: storage.keep_hours is 'True', but must be a number"),
        ("telegram: {allowed_chats: [1, on]}", "telegram.allowed_chats.1 is 'True', but must be a number"),
        ("web: 8080", "config.yaml: web must be a section with keys of its own"),
        ("- web", "must hold sections (data_dir, engine, limits, storage, web, telegram, discord), not a list"),
        ("web: [", "config.yaml is not YAML: expected the node content, but found '<stream end>' in line 1"),
        ("\x00", "config.yaml is not YAML in UTF-8"),
        ("? [a]\n: b", "config.yaml is not YAML: found unhashable key in line 1"),
        ("[" * 3000, "config.yaml is not YAML in UTF-8"),
        ("web: {host: a}\nengine:\nweb: {port: 1}", "config.yaml is not YAML: web is there twice in line 3"),
        ("web:\n  port: 1\n  port: 2\n", "config.yaml is not YAML: port is there twice in line 3"),
    ],
)
def test_mistakes_in_the_file_are_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in _complaint(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SPECTACLES_WEB__PORT", "many", "SPECTACLES_WEB__PORT is 'many', but must be a valid integer"),
        ("spectacles_web__port", "many", "spectacles_web__port is 'many', but must be a valid integer"),
        ("SPECTACLES_WEB", '{"port": "many"}', "SPECTACLES_WEB: web.port is 'many', but must be a valid integer"),
        ("SPECTACLES_WEB__PROT", "1", "SPECTACLES_WEB__PROT: there is no such setting, web has only enabled"),
        ("SPECTACLES_WBE__PORT", "1", "SPECTACLES_WBE__PORT: there is no section wbe, only engine, limits"),
        ("SPECTACLES_WEB", "8080", "SPECTACLES_WEB must be a section"),
        ("SPECTACLES_WEB", "{", "SPECTACLES_WEB must be a section"),
        (
            "SPECTACLES_WEB_PORT",
            "9000",
            "SPECTACLES_WEB_PORT: there is no such variable; this setting is called SPECTACLES_WEB__PORT",
        ),
        ("SPECTACLES_WEB__PORT", "true", "SPECTACLES_WEB__PORT is 'true', but must be a valid integer"),
        ("SPECTACLES_STORAGE__KEEP_HOURS", "yes", "STORAGE__KEEP_HOURS is 'yes', but must be a valid number"),
        ("SPECTACLES_TELEGRAM__ALLOWED_CHATS", "1,2", "CHATS is '1,2', but must be a list, like [1, 2]"),
        ("SPECTACLES_TELEGRAM__ALLOWED_CHATS", "[1, x", "CHATS is '[1, x', but must be a list, like [1, 2]"),
        ("SPECTACLES_WEB__ACCESS_CODE", "abc", "SPECTACLES_WEB__ACCESS_CODE must be at least 6 characters long"),
        ("SPECTACLES_WEB__ACCESS_CODE", "- - a-b-c -", "at least 6 characters long, spaces and dashes aside"),
    ],
)
def test_mistakes_in_the_environment_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    assert sentence in _complaint(tmp_path)


@pytest.mark.parametrize(
    "url",
    ["http://abc.example/hook", "no url", "", "https://[abc/hook", "https://:8443/abc", "https://abc.example:99999/"],
)
def test_a_webhook_that_nobody_can_call_is_one_sentence_without_what_may_be_a_secret(tmp_path: Path, url: str) -> None:
    sentence = _complaint(tmp_path, f"telegram: {{webhook_url: {url!r}}}")
    assert sentence.startswith("config.yaml: telegram.webhook_url must be an address with https://")
    assert "abc" not in sentence


def test_behind_a_server_of_ones_own_a_webhook_needs_no_tls(tmp_path: Path) -> None:
    settings = _load(tmp_path, "telegram: {local_mode: true, webhook_url: 'http://127.0.0.1:8443/hook'}")
    assert settings.telegram.webhook_url == "http://127.0.0.1:8443/hook"


def test_an_empty_variable_is_not_blamed_for_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTACLES_WEB__PORT", "")
    assert _complaint(tmp_path, "web: {port: many}").startswith("config.yaml: web.port is 'many'")


def test_a_section_in_a_variable_is_not_blamed_for_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTACLES_WEB", '{"host": "0.0.0.0"}')
    assert _complaint(tmp_path, "web: {port: many}").startswith("config.yaml: web.port is 'many'")
    assert _complaint(tmp_path, "web: {prot: 1}").startswith("config.yaml: web.prot: there is no such setting")


@pytest.mark.parametrize(
    "text", ["telegram: {token: 123:abc}", "telegram_bot_token: 123:abc", "TELEGRAM_BOT_TOKEN: 123:abc"]
)
def test_a_token_in_the_file_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    sentence = _complaint(tmp_path, text)
    assert "is a secret and belongs into no file, set TELEGRAM_BOT_TOKEN" in sentence
    assert "abc" not in sentence


@pytest.mark.parametrize(
    "text",
    [
        *("telegram: 123:abc", "telegram: {key: 123:abc}", "telegram: 123:abc\n  x: [", "\t123:abc"),
        *("web: {access_code: abc}", "web: {access_code: [abc]}", "web: {access_code: '----abc'}"),
    ],
)
def test_no_complaint_shows_what_may_be_a_secret(tmp_path: Path, text: str) -> None:
    assert "abc" not in _complaint(tmp_path, text)


def test_tokens_come_from_the_environment_and_stay_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:abc")
    settings = _load(tmp_path, "")
    assert settings.telegram_bot_token is not None
    assert settings.telegram_bot_token.get_secret_value() == "123:abc"
    assert "abc" not in repr(settings)
    assert settings.discord_bot_token is None


def test_the_new_line_after_a_token_is_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:abc\r\n")
    monkeypatch.setenv("DISCORD_BOT_TOKEN", "\n")
    settings = _load(tmp_path, "")
    assert settings.telegram_bot_token is not None
    assert settings.telegram_bot_token.get_secret_value() == "123:abc"
    assert settings.platforms == {"telegram", "web"}


def test_variables_of_somebody_else_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets these beside a service of the name ``spectacles``."""
    monkeypatch.setenv("SPECTACLES_PORT", "tcp://10.0.0.1:8080")
    monkeypatch.setenv("SPECTACLES_SERVICE_HOST", "10.0.0.1")
    assert load(tmp_path / "config.yaml").web.port == 8080

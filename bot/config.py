"""``config.yaml`` and the environment → frozen :class:`Settings`. Read when :func:`load` is called, never at import.

An environment variable ``SPECTACLES_<SECTION>__<KEY>`` wins over the file. Whatever is wrong is told in one sentence.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Hashable
from importlib.resources import files as package_files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import yaml
from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from spectacles_engine.messages import Blend, Limits, Preset

PREFIX = "SPECTACLES_"
MODELS = Path(str(package_files("spectacles_engine") / "weights" / "manifest.yaml"))
"""The list of all models with their SHA-256 sums, as this version has them."""
_SHORTEST_CODE = 6


class ConfigError(Exception):
    """The configuration cannot be used; ``str()`` is one sentence that says which key and what is allowed."""


def _no_switch(given: Any) -> Any:
    if isinstance(given, bool):  # as YAML reads yes and off, and Python takes them for 1 and 0
        raise PydanticCustomError("switch", "a number")
    return given


def _that_can_be(path: Path) -> Path:
    if "\0" in str(path):  # as YAML reads "D:\0songs"
        raise PydanticCustomError("no_path", "a path")
    return path


SomePath = Annotated[Path, AfterValidator(_that_can_be)]
Whole = Annotated[int, BeforeValidator(_no_switch)]
Number = Annotated[float, BeforeValidator(_no_switch)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EngineSettings(_Section):
    """Which ensemble runs, and where."""

    preset: Preset = "lite"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    blend: Blend = "stemmixer"
    mixer: SomePath | None = None
    quality: SomePath | None = None

    @property
    def ensemble(self) -> str:
        """What tells its stems from those of another: models by their list, which has their sums, and files of one's
        own by what they hold. Raises OSError.
        """
        files = [MODELS, *(file.expanduser() for file in (self.mixer, self.quality) if file)]
        held = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        return " ".join([self.preset, self.blend, *held])


class LimitSettings(_Section):
    """What is refused. Songs are in progress until their stems are sent; minutes are of audio that was separated."""

    longest_song_minutes: Number = Field(default=60, gt=0)
    decode_deadline_s: Number = Field(default=600, gt=0)
    largest_file_mb: Number = Field(default=2000, gt=0, le=1e9)
    songs_in_progress_per_person: Whole = Field(default=20, ge=1)
    songs_in_progress_per_chat: Whole = Field(default=50, ge=1)
    minutes_a_day_per_person: Number = Field(default=300, gt=0)
    minutes_a_day_per_chat: Number = Field(default=600, gt=0)

    @property
    def largest_file_bytes(self) -> int:
        """What a song may have before it is decoded."""
        return round(self.largest_file_mb * 1e6)

    @property
    def of_a_song(self) -> Limits:
        """What the engine holds every song to."""
        return Limits(self.longest_song_minutes * 60, self.decode_deadline_s)


class StorageSettings(_Section):
    """What is kept on the disk, and for how long."""

    keep_hours: Number = Field(default=24, gt=0)
    disk_budget_gb: Number = Field(default=10, gt=0)
    keep_free_mb: Number = Field(default=500, ge=0)


def plain_code(code: str) -> str:
    """An access code as it is compared: typed small or without the dash it is still right."""
    return re.sub(r"[\s-]", "", code).upper()


def _of_some_length(code: SecretStr | None) -> SecretStr | None:
    if code and len(plain_code(code.get_secret_value())) < _SHORTEST_CODE:
        raise PydanticCustomError(
            "short_code", "at least {least} characters long, spaces and dashes aside", {"least": _SHORTEST_CODE}
        )
    return code


class WebSettings(_Section):
    """The local web chat."""

    enabled: bool = True
    host: str = Field(default="127.0.0.1", min_length=1)
    port: Whole = Field(default=8080, ge=1, le=65535)
    access_code: Annotated[SecretStr | None, AfterValidator(_of_some_length)] = None


def _that_can_be_called(url: str | None, info: ValidationInfo) -> str | None:
    # what is behind one's own Bot API server may do without TLS
    schemes = ("https", "http") if info.data.get("local_mode") else ("https",)
    if url is not None and not _is_url(url, schemes):
        raise PydanticCustomError("no_url", "an address with https://, like https://songs.example.org/hook")
    return url


def _is_url(text: str, schemes: Collection[str]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is none
        return False


class TelegramSettings(_Section):
    """The Telegram chat."""

    local_mode: bool = False
    allowed_chats: tuple[Whole, ...] = ()
    webhook_url: Annotated[str | None, AfterValidator(_that_can_be_called)] = None
    webhook_host: str = Field(default="127.0.0.1", min_length=1)
    webhook_port: Whole = Field(default=8443, ge=1, le=65535)


class DiscordSettings(_Section):
    """The Discord chat."""

    allowed_guilds: tuple[Whole, ...] = ()
    allowed_channels: tuple[Whole, ...] = ()


class _Environment(EnvSettingsSource):
    """Variables; what should be JSON and is not is told like any other wrong value."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


Token = Annotated[SecretStr, BeforeValidator(str.strip)]
"""What was kept in a file, as secrets of containers are, often ends with its new line."""


class Settings(BaseSettings):
    """All settings. Tokens come from the environment alone and are never shown."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    data_dir: Annotated[SomePath | None, BeforeValidator(lambda given: None if given == "" else given)] = None
    engine: EngineSettings = EngineSettings()
    limits: LimitSettings = LimitSettings()
    storage: StorageSettings = StorageSettings()
    web: WebSettings = WebSettings()
    telegram: TelegramSettings = TelegramSettings()
    discord: DiscordSettings = DiscordSettings()
    telegram_bot_token: Token | None = Field(default=None, validation_alias="TELEGRAM_BOT_TOKEN")
    discord_bot_token: Token | None = Field(default=None, validation_alias="DISCORD_BOT_TOKEN")

    @property
    def data_folder(self) -> Path:
        """Where fetched models and results live."""
        return (self.data_dir or user_data_path("spectacles", appauthor=False)).expanduser()

    @property
    def platforms(self) -> set[str]:
        """The chats that are set up, whether they can be reached or not."""
        is_set_up = {"telegram": self.telegram_bot_token, "discord": self.discord_bot_token, "web": self.web.enabled}
        return {platform for platform, it_is in is_set_up.items() if it_is}

    @property
    def tokens(self) -> list[str]:
        """Those that are set, as the chats use them: never to be shown."""
        values = [getattr(self, name.lower()) for name in TOKENS]
        return [value.get_secret_value() for value in values if value]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what :func:`load` read from the file; nothing else."""
        return _Environment(settings_cls), init_settings


TOKENS = tuple(name.upper() for name in Settings.model_fields if name.endswith("_token"))
"""The variables of these fields, which no file may have."""
_FILE_KEYS = tuple(name for name in Settings.model_fields if name.upper() not in TOKENS)
_SECTIONS = tuple(name for name in _FILE_KEYS if name != "data_dir")
_KEYS = {section: type(Settings.model_fields[section].default).model_fields for section in _SECTIONS}
_ONE_UNDERSCORE = {f"{section}_{key}": f"{section}__{key}" for section, keys in _KEYS.items() for key in keys}
"""Names that are easily written in place of the right ones."""
_SECRETS = {"telegram.webhook_url"} | {  # part of which nobody else should know
    f"{section}.{key}"
    for section, keys in _KEYS.items()
    for key, field in keys.items()
    if SecretStr in get_args(field.annotation)
}
_MUST_BE = {
    "tuple_type": "a list, like [1, 2]",
    "string_type": "text (digits alone need quotes)",
    "string_too_short": "some text",
    "too_short": "at least {min_length} characters long",
    "path_type": "a path",
}
"""By pydantic's names of errors: what must be, where its own words are for programmers."""


def load(default_file: Path) -> Settings:
    """Settings from ``default_file`` (need not exist), or from the file that ``SPECTACLES_CONFIG`` names.

    Raises :class:`ConfigError`.
    """
    named = os.environ.get(f"{PREFIX}CONFIG")
    file = Path(named) if named else default_file
    from_file = _read(file) if named or file.exists() else {}
    _refuse_unknown_variables()
    try:
        settings = Settings(**from_file)
    except ValidationError as error:
        raise ConfigError(_sentence(error.errors()[0], file)) from None
    try:
        _ = settings.data_folder
    except RuntimeError:  # nobody knows where the home of this user is
        raise ConfigError(f"there is no home folder for the data: set data_dir ({PREFIX}DATA_DIR)") from None
    return settings


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice: YAML's own loader drops the first, with all that was set below it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                twice = f"{key.value} is there twice"
                raise yaml.constructor.ConstructorError(problem=twice, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(file: Path) -> dict[str, Any]:
    try:
        parsed = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        # The mark's own text quotes the file, which may hold a secret.
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{file} is not YAML: {error.problem or 'syntax error'}{where}") from None
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{file} is not YAML in UTF-8") from error
    if not isinstance(parsed, dict | None):
        raise ConfigError(f"{file} must hold sections ({', '.join(_FILE_KEYS)}), not a {type(parsed).__name__}")
    settings = parsed or {}
    _refuse_tokens(settings, file)
    for key in settings:
        if key not in _FILE_KEYS:
            raise ConfigError(f"{file}: there is no setting {key}, only {', '.join(_FILE_KEYS)}")
    return {key: value for key, value in settings.items() if value is not None}


def _refuse_tokens(settings: dict[Any, Any], file: Path) -> None:
    for key, value in settings.items():
        if "token" in str(key).lower():
            raise ConfigError(
                f"{file}: {key} is a secret and belongs into no file, set {' or '.join(TOKENS)} in the environment"
            )
        if isinstance(value, dict):
            _refuse_tokens(value, file)


def _refuse_unknown_variables() -> None:
    for name in filter(lambda name: name.upper().startswith(PREFIX), os.environ):
        section, delimiter, _ = name.lower().removeprefix(PREFIX.lower()).partition("__")
        if delimiter and section not in _SECTIONS:
            raise ConfigError(f"{name}: there is no section {section}, only {', '.join(_SECTIONS)}")
        # others may be somebody else's: Kubernetes names variables after its services
        if meant := _ONE_UNDERSCORE.get(section):
            raise ConfigError(f"{name}: there is no such variable; this setting is called {PREFIX}{meant.upper()}")


def _sentence(error: ErrorDetails, file: Path) -> str:
    """Pydantic's first complaint in our words. Values of sections and of unknown keys may be secrets: not shown."""
    loc = [str(part) for part in error["loc"]]
    key, section = ".".join(loc), loc[0]
    # a variable counts in capitals or not, and only if it is not empty; that of a section holds JSON
    variables = {name.upper(): name for name, value in os.environ.items() if value}
    in_environment = _Environment(Settings)().get(section, {})
    is_of_variable = not isinstance(in_environment, dict) or len(loc) == 1 or loc[1] in in_environment
    place = variables.get(PREFIX + section.upper(), file) if is_of_variable else file
    name = variables.get(PREFIX + "__".join(loc[:2]).upper()) or f"{place}: {key}"
    if error["type"] in ("extra_forbidden", "invalid_key"):
        return f"{name}: there is no such setting, {section} has only {', '.join(_KEYS[section])}"
    if key in _SECTIONS:
        return f"{name} must be a section with keys of its own"
    if must_be := _MUST_BE.get(error["type"]):
        allowed = must_be.format(**error.get("ctx", {}))
    else:
        allowed = error["msg"].removeprefix("Input should be ").split(", unable")[0]
    found = "" if key in _SECRETS else f" is {str(error['input'])[:40]!r}, but"
    return f"{name}{found} must be {allowed}"

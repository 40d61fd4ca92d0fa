"""Reading the configuration: one TOML file, each key of which an environment variable can override."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployer.config import SECTIONS, Config, Setting, check, section_type, settings_of
from deployer.errors import ConfigError

ENV_PREFIX = "DEPLOYER_"
DEFAULT_FILE = Path("config.toml")


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read ``path`` (or ``./config.toml`` where it exists) and the environment's overrides.

    Raises ConfigError with the file, the key's path and what was expected.
    """
    environ = os.environ if environ is None else environ
    source, document = _read(path)
    values = _from_document(document, source)
    _override(values, environ)
    sections = {name: section_type(name)(**given) for name, given in values.items()}
    found = Config(**sections, source=source)
    check(found)
    return found


def _read(path: Path | None) -> tuple[str, dict[str, Any]]:
    if path is None:
        if not DEFAULT_FILE.exists():
            return "", {}
        path = DEFAULT_FILE
    try:
        return str(path), tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file.", hint="Copy config.example.toml there.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error


def _from_document(document: dict[str, Any], source: str) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for section, given in document.items():
        if section not in values:
            raise ConfigError(f"{source}: {section}: unknown section; there are {', '.join(SECTIONS)}.")
        if not isinstance(given, dict):
            raise ConfigError(f"{source}: {section}: should be a section, written as [{section}].")
        known = settings_of(section)
        for key, value in given.items():
            if key not in known:
                raise ConfigError(f"{source}: {section}.{key}: unknown key; there are {', '.join(known)}.")
            values[section][known[key].name] = _typed(value, known[key], f"{source}: {section}.{key}")
    return values


def _typed(value: Any, setting: Setting, where: str) -> Any:
    # bool is a subclass of int in Python, but `threads = true` is a mistake.
    if type(value) is not setting.type:
        found = "" if setting.is_secret else f", but is {value!r}"
        raise ConfigError(f"{where}: should be {_type_words(setting.type)}{found}.")
    return value


def _type_words(expected: Any) -> str:
    return {str: "a string", int: "a whole number", bool: "true or false"}[expected]


def _override(values: dict[str, dict[str, Any]], environ: Mapping[str, str]) -> None:
    names = {
        f"{ENV_PREFIX}{section}_{key}".upper(): (section, setting)
        for section in SECTIONS
        for key, setting in settings_of(section).items()
    }
    sections = tuple(f"{ENV_PREFIX}{section}_".upper() for section in SECTIONS)
    for name, text in environ.items():
        if name in names:
            section, setting = names[name]
            values[section][setting.name] = _parsed(text, setting.type, f"environment: {name}")
        elif name.startswith(sections):
            raise ConfigError(f"environment: {name}: there is no such setting.")


def _parsed(text: str, expected: Any, where: str) -> Any:
    if expected is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise ConfigError(f"{where}: should be true or false, but is {text!r}.")
    if expected is int:
        try:
            return int(text)
        except ValueError as error:
            raise ConfigError(f"{where}: should be a whole number, but is {text!r}.") from error
    return text

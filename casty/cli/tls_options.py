"""Files of TLS as a user names them: in ``[tls]`` of ``casty.toml``, in ``CASTY_TLS_*``, or as one folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from casty import ConfigError, TlsConfig

PREFIX = "CASTY_TLS_"
FILES = ("certificate", "private_key", "ca")
NAMES = tuple(field.name for field in fields(TlsConfig))


def tls_of(folder: Path | None, environ: Mapping[str, str], in_file: TlsConfig | None) -> TlsConfig | None:
    """Return the files meant: those of the folder, else of the environment, else of the configuration file.

    A folder has three files; who is denied, and the other settings, hold with it as without it.
    """
    said: dict[str, Any] = {}
    for name in (*(FILES if folder is None else ()), "denied", "reload_every"):
        if value := environ.get(PREFIX + name.upper()):
            said[name] = _seconds(value) if name == "reload_every" else value
    base, place = in_file, folder or environ.get(PREFIX + "DIR")
    if place:
        there = TlsConfig.folder(place)
        files = {name: getattr(there, name) for name in FILES}
        base = there if in_file is None else replace(in_file, **files)
    if base is not None:
        return replace(base, **said)
    if not said:
        return None
    missing = [PREFIX + name.upper() for name in FILES if name not in said]
    if missing:
        raise ConfigError(f"{', '.join(missing)} must be set too, or {PREFIX}DIR for a folder with all three files")
    return TlsConfig(**said)


def tls_table(value: object, _: object) -> TlsConfig | None:
    """Return the configuration in a table ``[tls]``. ConfigError for anything else."""
    if not isinstance(value, dict):
        raise ConfigError(f"expected a table, [tls] and below it a line for each setting, got {value!r}")
    table = cast("dict[str, Any]", value)
    if unknown := sorted(set(table) - set(NAMES)):
        raise ConfigError(f"unknown key {unknown[0]!r}; [tls] has {', '.join(NAMES)}")
    if missing := [name for name in FILES if name not in table]:
        raise ConfigError(f"[tls] needs {', '.join(missing)}: paths of files in PEM form")
    return TlsConfig(**table)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{PREFIX}RELOAD_EVERY must be a number of seconds, got {text!r}") from None

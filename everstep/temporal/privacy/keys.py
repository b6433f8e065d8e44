"""Key rings: the keys by their ids, which of them is current, and where a ring comes from.

A ring is a file, or what a function gives that gets it from a key service. It is read again when its file changes, and
when a payload names a key that it lacks: so keys are rotated without a restart.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import importlib
import json
import logging
import os
import re
import stat
import threading
import time
import tomllib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from everstep.errors import SettingsError, UnreadablePayloadError

_log = logging.getLogger("everstep.worker")

KEYS_SETTING = "EVERSTEP_ENCRYPTION_KEYS"
KEY_BYTES = 32
LOOK_SECONDS = 5.0
"""How long a process may go on with the ring that it knows, after its file has changed."""

ASK_SECONDS = 1.0
"""How often, at most, a ring is read again because a payload names a key that it lacks."""

_ASK_SERVICE = "See that the key service answers, and permits this process to ask it."

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOOK = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys of 32 bytes by their ids. What is written is encrypted with the `current` one, the others only decrypt.

    Raises:
        SettingsError: an id or a key is none, or there is no current key.

    Example: `KeyRing("2026-11", {"2026-11": os.urandom(32), "2026-05": the_one_before})`
    """

    current: str
    keys: Mapping[str, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        for key_id, key in self.keys.items():
            if not _ID.fullmatch(key_id):
                raise SettingsError(
                    f"the key id {key_id!r} is none: use up to 64 letters, digits, dots, hyphens, underscores"
                )
            if len(key) != KEY_BYTES:
                raise SettingsError(
                    f"the key {key_id!r} has {len(key)} bytes, not {KEY_BYTES}: make one with `everstep keys new`"
                )
        if self.current not in self.keys:
            known = ", ".join(self.keys) or "none at all"
            raise SettingsError(f"the current key is to be {self.current!r}, and the ring has {known}")

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """A ring from its plain form: ``{"current": id, "keys": {id: base64}}``.

        Instead of `keys`, or beside them, ``{"wrapped": {id: base64}, "unwrap": "module:function"}`` has keys that a
        key service has encrypted; the function is given the id and the bytes, and gives the key.

        Raises:
            SettingsError: it is no ring; tells why.
        """
        if not isinstance(data, Mapping):
            raise SettingsError('it is no object with "current" and "keys"')
        ring = cast("Mapping[str, Any]", data)
        keys = {key_id: _decoded(key_id, text) for key_id, text in _texts(ring, "keys")}
        wrapped = _texts(ring, "wrapped")
        if wrapped:
            unwrap = load_hook(str(ring.get("unwrap") or ""))
            keys |= {key_id: _unwrapped(unwrap, key_id, _decoded(key_id, text)) for key_id, text in wrapped}
        if not keys:
            raise SettingsError('it has no "keys"')
        return cls(str(ring.get("current") or ""), keys)

    def to_json(self) -> dict[str, Any]:
        """The inverse of `from_json`; it holds the keys themselves."""
        return {
            "current": self.current,
            "keys": {name: base64.b64encode(key).decode() for name, key in self.keys.items()},
        }


class Keys:
    """The ring as it stands now.

    Args:
        load: reads it.
        stamp: changes when the ring has changed; None where that cannot be told.
        look_seconds: how long what is known may hold after that.

    Raises:
        SettingsError: it cannot be read.
    """

    def __init__(
        self,
        load: Callable[[], KeyRing],
        stamp: Callable[[], Hashable] | None = None,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._load = load
        self._stamp = stamp
        self._look_seconds = look_seconds
        self._lock = threading.Lock()
        self._seen: Hashable = None
        with contextlib.suppress(OSError):  # `load` tells it better
            self._seen = None if stamp is None else stamp()  # before it is read: what changes meanwhile is seen
        self.ring = load()
        self._looked = time.monotonic()
        self._asked = -ASK_SECONDS

    def current(self) -> tuple[str, bytes]:
        """The id and the key to encrypt with."""
        if self._stamp is not None and self.due():
            self._look(self._stamp)
        ring = self.ring
        return ring.current, ring.keys[ring.current]

    def due(self) -> bool:
        """Whether `current` looks for a change next time, which may mean a call over the network."""
        return self._stamp is not None and time.monotonic() - self._looked > self._look_seconds

    def knows(self, key_id: str) -> bool:
        """Whether the ring, as it was last read, has this key."""
        return key_id in self.ring.keys

    def find(self, key_id: str) -> bytes:
        """The key with this id; the ring is read again if it lacks it.

        Raises:
            UnreadablePayloadError: it has none.
        """
        key = self.ring.keys.get(key_id)
        if key is None:
            self._read_again(key_id)
            key = self.ring.keys.get(key_id)
        if key is None:
            raise UnreadablePayloadError(
                f"A payload is encrypted with key {key_id!r}, which the key ring of {KEYS_SETTING} does not have (it "
                f"has {', '.join(self.ring.keys)}). Put that key back into the ring: old keys stay in it for as long "
                "as there are runs that were written with them."
            )
        return key

    def _look(self, stamp: Callable[[], Hashable]) -> None:
        self._looked = time.monotonic()
        try:
            now = stamp()
        except OSError:
            return  # it is being replaced; what is known holds
        if now != self._seen:
            self._read_again(None)

    def _read_again(self, wanted: str | None) -> None:
        with self._lock:
            if wanted is not None:
                now = time.monotonic()
                if wanted in self.ring.keys or now - self._asked < ASK_SECONDS:
                    return  # another thread was first; or somebody sends payloads with ids that he has made up
                self._asked = now
            try:
                seen = None if self._stamp is None else self._stamp()
                self.ring = self._load()
                self._seen = seen  # only now: where a key service was away, it is asked again
            except (SettingsError, OSError) as error:
                _log.warning("the key ring has changed and cannot be read, the one known before is kept: %s", error)


def find_keys(place: str, *, look_seconds: float = LOOK_SECONDS) -> Keys:
    """The ring that the setting names: the path of a file, or ``module:function``.

    Args:
        place: the setting.
        look_seconds: how long a process may go on with the ring that it knows, after its file has changed.

    Raises:
        SettingsError: there is none; names the setting, what is wrong, and the remedy.
    """
    if place.lstrip().startswith("{"):  # its text would be shown as a path is
        raise SettingsError(
            f"{KEYS_SETTING} has the key ring itself: write that to a file of mode 600, and name the file here."
        )
    if _HOOK.fullmatch(place) and not Path(place).exists():
        hook = load_hook(place)
        return Keys(lambda: _from_hook(place, hook))
    path = Path(place).expanduser()
    return Keys(lambda: read_ring(path), lambda: _stamp(path), look_seconds=look_seconds)


def read_ring(path: Path) -> KeyRing:
    """The ring of a file, JSON or TOML.

    Raises:
        SettingsError: it is not there, others may read it, or it is no ring.
    """
    try:
        _refuse_if_open(path)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{KEYS_SETTING}: the key ring {path} cannot be read: {error.strerror}. Make one with "
            f"`everstep keys new {path}`, or correct the path."
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{KEYS_SETTING}: {path} is no key ring: it is not text") from None
    try:
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise SettingsError(
            f"{KEYS_SETTING}: the key ring {path} is no {kind}: {error}. Take it from your backup."
        ) from None
    try:
        return KeyRing.from_json(data)
    except SettingsError as error:
        raise SettingsError(f"{KEYS_SETTING}: the key ring {path} cannot be used: {error}") from error.__cause__


def load_hook(place: str) -> Callable[..., Any]:
    """The function ``module:function``.

    Raises:
        SettingsError: there is none.
    """
    module, _, name = place.partition(":")
    try:
        hook = getattr(importlib.import_module(module), name) if module and name else None
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"{KEYS_SETTING}: the function {place!r} cannot be imported: {error}. Write module:function, and have the "
            "module on PYTHONPATH."
        ) from error
    if not callable(hook):
        raise SettingsError(f"{KEYS_SETTING}: {place!r} names no function: write module:function")
    return cast("Callable[..., Any]", hook)


def _from_hook(place: str, hook: Callable[..., Any]) -> KeyRing:
    try:
        ring = hook()
    except Exception as error:
        told = f"{KEYS_SETTING}: {place} gave no key ring: {type(error).__name__}: {error}. {_ASK_SERVICE}"
        raise SettingsError(told) from error
    if isinstance(ring, KeyRing):
        return ring
    try:
        return KeyRing.from_json(ring)
    except SettingsError as error:
        raise SettingsError(f"{KEYS_SETTING}: what {place} gave is no key ring: {error}") from error.__cause__


def _unwrapped(unwrap: Callable[..., Any], key_id: str, wrapped: bytes) -> bytes:
    try:
        key = unwrap(key_id, wrapped)
    except Exception as error:
        told = f"the key {key_id!r} cannot be unwrapped: {type(error).__name__}: {error}. {_ASK_SERVICE}"
        raise SettingsError(told) from error
    if not isinstance(key, bytes):
        raise SettingsError(f"the key {key_id!r} was unwrapped to no bytes but {type(key).__name__}: give {KEY_BYTES}")
    return key


def _refuse_if_open(path: Path) -> None:
    """A ring that others may read, or the group may write, is no secret."""
    if os.name != "posix":
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise SettingsError(
            f"{KEYS_SETTING}: the key ring {path} is open to others (mode {mode:04o}). Close it with "
            f"`chmod 600 {path}`; for a Kubernetes Secret set defaultMode: 0440, and fsGroup."
        )


def _stamp(path: Path) -> Hashable:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _texts(ring: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    part: Any = ring.get(name) or {}
    if not isinstance(part, Mapping):
        raise SettingsError(f'its "{name}" are no object of ids and keys')
    return [(str(key_id), text) for key_id, text in cast("Mapping[Any, Any]", part).items()]


def _decoded(key_id: str, text: Any) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error:
        raise SettingsError(f"the key {key_id!r} is not base64") from None

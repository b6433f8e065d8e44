"""`keys`: make, rotate and look at key rings. Keys themselves are never printed."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Collection
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from everstep.cli.exits import CommandError, Exit
from everstep.cli.output import Output, OutputOption
from everstep.temporal.privacy.keys import KEY_BYTES, KEYS_SETTING, KeyRing, find_keys, read_ring


class Action(StrEnum):
    """What to do with a ring."""

    NEW = "new"
    ROTATE = "rotate"
    USE = "use"
    LIST = "list"


def keys(
    action: Annotated[Action, typer.Argument(help="new, rotate, use or list.")],
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help=f"The ring: a .json or .toml file; default {KEYS_SETTING}.")
    ] = None,
    key_id: Annotated[
        str | None, typer.Option("--id", help="The key's id: of a new one (default today), or of the one to use.")
    ] = None,
    stage: Annotated[
        bool, typer.Option("--stage", help="rotate: add the key without using it, until `use` says so.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Make a key ring, rotate it, or list the ids of its keys.

    `rotate` adds a key and uses it from now on; the old keys stay, and read what was written with them. Where workers
    have copies of the ring: `rotate --stage`, bring the ring to all of them, then `use --id ID`, and bring it again.
    Processes that run take a changed file up within 5 seconds.

    Examples:

      {command} new keys.json

      {command} rotate keys.json --id 2026-12

      {command} use keys.json --id 2026-12

      {command} list
    """
    out = Output(output)
    place = file or os.environ.get(KEYS_SETTING, "").strip()
    if not place:
        raise CommandError(f"Name the key ring's file, or set {KEYS_SETTING}.", Exit.USAGE)
    if action is Action.LIST:
        _tell(out, place, find_keys(place).ring)
        return
    path = Path(place).expanduser()
    if action is Action.NEW:
        name = key_id or _today(())
        ring = KeyRing(name, {name: secrets.token_bytes(KEY_BYTES)})
    else:
        ring = _changed(action, _read_to_change(path), key_id, stage=stage)
    _write(path, ring, fresh=action is Action.NEW)
    _tell(out, str(path), ring)


def _changed(action: Action, ring: KeyRing, key_id: str | None, *, stage: bool) -> KeyRing:
    if action is Action.ROTATE:
        name = key_id or _today(ring.keys)
        if name in ring.keys:
            raise CommandError(f"The ring has a key {name!r} already: give the new one another --id.", Exit.USAGE)
        return KeyRing(ring.current if stage else name, {name: secrets.token_bytes(KEY_BYTES), **ring.keys})
    if key_id is None or key_id not in ring.keys:
        raise CommandError(f"Name the key to use, by --id: the ring has {', '.join(ring.keys)}.", Exit.USAGE)
    return KeyRing(key_id, ring.keys)


def _today(taken: Collection[str]) -> str:
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return next(name for n in range(1, 1000) if (name := today if n == 1 else f"{today}.{n}") not in taken)


def _read_to_change(path: Path) -> KeyRing:
    """The ring of a file; one whose keys are wrapped would be written with the keys themselves."""
    ring = read_ring(path)
    if "wrapped" in path.read_text(encoding="utf-8"):
        raise CommandError(
            f"The keys of {path} are wrapped by a key service: have it make and wrap the new key, and add that to "
            '"wrapped" by hand.',
            Exit.USAGE,
        )
    return ring


def _write(path: Path, ring: KeyRing, *, fresh: bool) -> None:
    """Write the ring in one go, for its owner alone; a new one never over one that is there."""
    data = ring.to_json()
    if path.suffix == ".toml":
        pairs = "\n".join(f'"{name}" = "{key}"' for name, key in data["keys"].items())
        text = f'current = "{data["current"]}"\n\n[keys]\n{pairs}\n'
    else:
        text = json.dumps(data, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = None if fresh else path.stat()
        if before is not None:
            path = path.resolve()  # a link to the ring stays one: others read what it leads to
        target = path if before is None else path.with_name(f".{path.name}.new")
        if before is not None:
            target.unlink(missing_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if before is not None and os.name == "posix":  # whoever reads it now still may, whatever the umask
                os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, before.st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            target.replace(path)
    except FileExistsError:
        raise CommandError(
            f"{path} is there already, and runs may need its keys: to add a key, rotate it.", Exit.USAGE
        ) from None
    except OSError as error:
        raise CommandError(f"The key ring {path} cannot be written: {error.strerror}.", Exit.FAILED) from error


def _tell(out: Output, place: str, ring: KeyRing) -> None:
    if out.json:
        out.data({"ring": place, "current": ring.current, "keys": list(ring.keys)})
        return
    out.table(("key", ""), [(name, "current" if name == ring.current else "reads only") for name in ring.keys])
    out.text(f"{KEYS_SETTING}={place}", "dim")

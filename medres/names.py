"""Names of studies, data sets, reports and models, which become folders, files and commands."""

import re
from typing import Any

from medres import texts

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of studies, data sets and reports: they become folders, files and parts of commands."""
MODEL = re.compile(r"/?[A-Za-z0-9._][A-Za-z0-9._-]*(/[A-Za-z0-9._][A-Za-z0-9._-]*)*")
"""Names of models: a tiny model, a hub id, or a folder."""
SERVED = re.compile(
    r"served:(?P<url>https?://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
    r"(/[A-Za-z0-9._~/-]*)?)#(?P<name>[A-Za-z0-9/.][^\s#\x00-\x20\x7f-\uffff]*)"
)
"""Name of a model that a server answers for; behind the name may stand @ and a model like it."""
SERVED_FORM = "served:http://HOST:PORT/v1#NAME or served:http://HOST:PORT/v1#NAME@LIKE"
MOST_CHARACTERS = {NAME: 64, MODEL: 100}
"""Of a name: with others it becomes the name of a file, which has at most 255 bytes."""
MOST_SERVED_CHARACTERS = 400
RESERVED = ("models",)
"""Names below `runs/` that are no study's."""
ALPHABET = "letters, digits, dot, hyphen and underscore, beginning with a letter or digit"


def check(what: str, name: Any, *, pattern: re.Pattern[str] = NAME) -> None:
    """Refuse a name that cannot be a folder, a file and a word of a command as it stands.

    Raises:
        ValueError: Saying where it stands and what names are made of.
    """
    if not isinstance(name, str):
        raise ValueError(
            f"{what} {name} was read as {type(name).__name__}, not as text; put it in quotes: "
            f"'{name}'"
        )
    if pattern is MODEL and name.startswith(texts.SERVED):
        return _check_served(what, name)
    most = MOST_CHARACTERS[pattern]
    if not pattern.fullmatch(name) or name.endswith(".") or ".." in name:
        slash = "; models may have / inside" if pattern is MODEL else ""
        like = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-._").replace("..", ".")[:most]
        such = f", for example {like}" if like and pattern is NAME else ""
        raise ValueError(f"{what} {name!r:.200} is not a name: use {ALPHABET}{slash}{such}")
    if len(texts.named(name)) > most:
        raise ValueError(f"{what} {name!r:.200} has {len(name)} characters; use at most {most}")


def _check_served(what: str, name: str) -> None:
    if not SERVED.fullmatch(name) or len(name) > MOST_SERVED_CHARACTERS:
        raise ValueError(
            f"{what} {_without_password(name)!r:.200} is not the name of a served model: write "
            f"{SERVED_FORM}, with a plain address (no user, password or question mark) and the "
            "name that the server lists"
        )


def _without_password(name: str) -> str:
    return re.sub(r"//[^/@#]*@", "//...@", name)

"""The configuration reference as data: what `cancelot config reference` prints."""

import re
import subprocess
from typing import NamedTuple


class Setting(NamedTuple):
    section: str  # "server", or "accounts.<name>"
    word: str
    owners: tuple  # providers that it is for; none: all
    kind: str  # "true or false", "whole number from 1 to 5", "`a`, `b`", "list of: " and another, ...
    required: bool
    variable: str
    meaning: str
    in_file: bool  # False: may stand in a variable alone


def settings(cancelot):
    text = subprocess.run(
        [cancelot, "config", "reference"], check=True, capture_output=True, text=True
    ).stdout
    found, section = [], None
    for line in text.splitlines():
        if heading := re.fullmatch(r"### `\[(.+)\]`", line):
            section = heading[1]
        elif line.startswith(("| `", "| (variable only)")):
            name, kind, default, variable, meaning = (c.strip() for c in line.strip("| ").split(" | "))
            named = re.fullmatch(r"`(\w+)`(?: \((.+)\))?", name)
            word = named[1] if named else variable.strip("`").rsplit("_", 1)[1].lower()
            owners = tuple(named[2].split(", ")) if named and named[2] else ()
            required, variable = default == "required", variable.strip("`")
            found.append(
                Setting(section, word, owners, kind, required, variable, meaning, bool(named))
            )
    assert len(found) > 40, "the reference is a table as it was"
    return found

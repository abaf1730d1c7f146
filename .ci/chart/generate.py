"""Writes what follows from something else: the `config` part of the chart's schema from the
configuration reference, and the table in its README from the comments in its values.

Usage: generate.py CANCELOT [--check]
"""

import json
import re
import sys
from pathlib import Path

import reference

CHART = Path(__file__).resolve().parents[2] / "helm" / "cancelot"
START, END = "<!-- values: generated from the comments in values.yaml -->\n", "<!-- end of values -->"


def schema_of(kind):
    if kind == "true or false":
        return {"type": "boolean"}
    if bounds := re.fullmatch(r"(whole )?number from (\S+) to (\S+)", kind):
        of = int if bounds[1] else float
        name = "integer" if bounds[1] else "number"
        return {"type": name, "minimum": of(bounds[2]), "maximum": of(bounds[3])}
    if kind.startswith("list of: "):
        item = schema_of(kind.removeprefix("list of: "))
        return {"type": "array", "minItems": 1, "items": item}
    if re.fullmatch(r"`\w+`(, `\w+`)*", kind):
        return {"enum": re.findall(r"`(\w+)`", kind)}
    if kind == "IP address and port":
        return {"type": "string", "pattern": r"^([0-9.]+|\[[0-9a-fA-F:.]+\]):[1-9][0-9]{0,4}$"}
    if kind == "URL":
        return {"type": "string", "pattern": "^https?://"}
    return {"type": "string", "minLength": 1}


def table(settings):
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            s.word: {**schema_of(s.kind), "description": s.meaning} for s in settings if s.in_file
        },
    }
    if required := [s.word for s in settings if s.required and not s.owners]:
        schema["required"] = required
    return schema


def config_schema(settings):
    sections = {}
    for setting in settings:
        sections.setdefault(setting.section, []).append(setting)
    properties = {}
    for section, of_section in sections.items():
        group = section.removesuffix(".<name>")
        schema = table(of_section)
        if group in ("callers", "accounts"):
            schema["properties"]["existingSecret"] = {
                "type": "string",
                "minLength": 1,
                "description": "Name of the Secret that the chart mounts.",
            }
            schema["properties"]["secretKey"] = {
                "type": "string",
                "minLength": 1,
                "description": "Its key.",
            }
        if group != section:
            schema = {"type": "object", "additionalProperties": schema}
        properties[group] = schema
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["server", "journal"],
        "properties": properties,
    }


def values_table(text):
    """Rows of the described values. A description is "# -- ..." and comments that go on."""
    rows, path, description, described = [], [], None, set()
    for line in text.splitlines():
        comment = re.fullmatch(r"\s*# ?(-- )?(.*)", line)
        key = re.fullmatch(r"(\s*)([A-Za-z_]+):\s*(.*)", line)
        if comment and comment[1]:
            description = comment[2]
        elif comment and description is not None:
            description += " " + comment[2]
        elif key:
            path[len(key[1]) // 2 :] = [key[2]]
            if description is not None:
                default = key[3] or "see values.yaml"
                rows.append(f"| `{'.'.join(path)}` | `{default}` | {description} |")
                described.add(tuple(path))
            elif key[3] and not any(tuple(path[:n]) in described for n in range(len(path))):
                sys.exit(f"values.yaml: {'.'.join(path)} has no description")
            description = None
        else:
            description = None
    return "| Value | Default | Meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def main(cancelot, check):
    schema_file, readme_file = CHART / "values.schema.json", CHART / "README.md"
    schema = json.loads(schema_file.read_text())
    schema["properties"]["config"] = config_schema(reference.settings(cancelot))
    before, rest = readme_file.read_text().split(START)
    after = rest.split(END)[1]
    rows = values_table((CHART / "values.yaml").read_text())
    stale = False
    for file, text in (
        (schema_file, json.dumps(schema, indent=2) + "\n"),
        (readme_file, f"{before}{START}\n{rows}\n{END}{after}"),
    ):
        if file.read_text() == text:
            continue
        if check:
            print(f"{file.name} is not up to date: run .ci/chart/generate.py CANCELOT")
            stale = True
        else:
            file.write_text(text)
    sys.exit(stale)


if __name__ == "__main__":
    main(sys.argv[1], "--check" in sys.argv[2:])

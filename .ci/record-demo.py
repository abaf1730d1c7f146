#!/usr/bin/env python3
"""Records a run of the demo in a terminal: docs/demo.cast (asciinema, with its times), and its text
as it stood at the end, with long lines wrapped, in README.md. Both are of the same run.

Usage: record-demo.py CANCELOT
"""

import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import sys
import termios
import textwrap
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND = "cargo run --release -- demo"
COLUMNS, ROWS, WRAPPED = 160, 40, 100
BEGIN, END = "<!-- recording: .ci/record-demo.py -->\n", "<!-- end of recording -->"
# What follows in the output is how to go on by hand, which README has already.
LAST = "Every promise held."


def recorded(cancelot):
    """What a run writes to a terminal: (seconds since the start, text)."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(cancelot, ["cancelot", "demo"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    begun, events, rest = time.monotonic(), [], b""
    while True:
        try:
            rest += os.read(terminal, 65536)
        except OSError:  # The terminal is closed with its last process.
            break
        # A character may be cut in two.
        text = rest.decode(errors="ignore")
        rest = rest[len(text.encode()) :]
        events.append((round(time.monotonic() - begun, 3), text))
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"FAILED: the demo failed: {events[-1:]}")
    return events


def shown(events):
    """What stands on the terminal at the end: a line is erased and written again, nothing else."""
    text = "".join(text for _, text in events).replace("\r\n", "\n")
    lines = [line.rsplit("\x1b[2K", 1)[-1].rstrip("\r ") for line in text.split("\n")]
    text = "\n".join(lines)
    if re.search(r"[\x00-\x08\x0b-\x1f]", text):
        sys.exit("FAILED: the demo moves about the terminal in a way that is not known here")
    return text


def main():
    events = recorded(os.path.realpath(sys.argv[1]))
    prompt = f"$ {COMMAND}\r\n"
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "cancelot demo"}
    cast = [header, [0.0, "o", prompt], *([at, "o", text] for at, text in events)]
    (ROOT / "docs/demo.cast").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in cast))

    text = shown(events)
    text = text[: text.index(LAST) + len(LAST)]
    lines = [f"$ {COMMAND}"]
    for line in text.split("\n"):
        indent = " " * (9 if line.startswith("  held") else 4)
        lines += textwrap.wrap(line, WRAPPED, subsequent_indent=indent, drop_whitespace=True) if len(line) > WRAPPED else [line]
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    block = "```text\n" + "\n".join(lines) + "\n```\n"
    readme.write_text(before + BEGIN + "\n" + block + "\n" + END + rest.split(END)[1])


main()

#!/usr/bin/env python3
"""Faults that take a disk of one's own to show. Needs root, for mounting.

    tests/power/run.py cut [runs] [seed]   power cuts on ext4: its log is not flushed, nothing that
                                           was not synced is left
    tests/power/run.py full                a disk that is full: refused, served again, and opened
                                           with the ballast after it was full to the last byte

The journal's own test is the process that is cut off, and the one that looks at what is left.
Everything that it acknowledged before has to be there.
"""

import fcntl
import json
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = "journal::tests::crash::whatever_was_acknowledged_survives_kill_9"
VARIABLE = "CANCELOT_TEST_CRASH_"
EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2
MIB = 1 << 20


def call(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def test_binary(place):
    """Builds the tests; a copy, so that a later build changes nothing here."""
    build = ["cargo", "test", "--package", "cancelot", "--lib", "--no-run", "--message-format=json"]
    lines = subprocess.run(build, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    built = [json.loads(line) for line in lines.splitlines()]
    found = [b["executable"] for b in built if b.get("executable") and b["profile"]["test"]]
    return shutil.copy(found[-1], place)


class Child:
    """The process that writes, and what it said."""

    def __init__(self, binary, journal, run, said, reserve=0):
        variables = {"DIR": journal, "RUN": run, "RESERVE": reserve}
        env = dict(os.environ, **{VARIABLE + k: str(v) for k, v in variables.items()})
        command = [binary, "--exact", TEST, "--nocapture"]
        self.process = subprocess.Popen(
            command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.said = open(said, "ab")

    def listen(self, seconds, until=lambda _: False):
        """Notes what it says for so long, or until something was said; whether it was."""
        end = time.monotonic() + seconds
        pipe = self.process.stdout.fileno()
        while (left := end - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                data = os.read(pipe, 1 << 16)
                if not data:
                    return False
                self.said.write(data)
                self.said.flush()
                if until(data):
                    return True
        return False

    def end(self, kill=True):
        """Notes all it said before it died."""
        if kill:
            self.process.kill()
        self.listen(60)
        self.process.wait()
        # A line that death cut short acknowledges nothing, nor does it join the next one.
        self.said.write(b"\n")
        self.said.close()


def check(binary, journal, said):
    variables = {"DIR": journal, "SAID": said}
    env = dict(os.environ, **{VARIABLE + k: str(v) for k, v in variables.items()})
    command = [binary, "--exact", TEST, "--nocapture"]
    done = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout)
    words = [line for line in done.stdout.splitlines() if "looked for" in line]
    return int(words[0].split()[-1])


def cut(runs, seed):
    print(f"seed {seed}: tests/power/run.py cut {runs} {seed}")
    draw = random.Random(seed)
    looked_for = stores = 0
    with tempfile.TemporaryDirectory() as place:
        binary = test_binary(place)
        image, mount, said = (Path(place) / name for name in ("image", "mount", "said"))
        mount.mkdir()
        for run in range(runs):
            if run % 4 == 0:
                image.unlink(missing_ok=True)
                said.unlink(missing_ok=True)
                with open(image, "wb") as file:
                    file.truncate(256 * MIB)
                call("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", image)
            call("mount", "-o", "loop", image, mount)
            try:
                child = Child(binary, mount / "journal", run, said)
                child.listen(60, lambda data: b"ack " in data)
                child.listen(draw.uniform(0, 1.5))
                root = os.open(mount, os.O_RDONLY)
                fcntl.ioctl(root, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
                os.close(root)
                child.end()
            finally:
                call("umount", mount)
            call("mount", "-o", "loop", image, mount)
            try:
                stores += len(list((mount / "journal").glob("store-*"))) > 1
                looked_for += check(binary, mount / "journal", said)
            finally:
                call("umount", mount)
            print(f"run {run}: {looked_for} looked for, {stores} with two databases", flush=True)
    print(f"{runs} cuts, nothing lost")


def fill(mount, leave):
    """Takes all of the disk but so much."""
    disk = os.statvfs(mount)
    size = disk.f_bavail * disk.f_frsize - leave
    with open(mount / "filler", "ab") as file:
        while size > 0:
            try:
                size -= os.write(file.fileno(), bytes(min(size, MIB)))
            except OSError:
                return


def expect(what, holds):
    print(f"{what}: {'yes' if holds else 'NO'}", flush=True)
    if not holds:
        sys.exit(1)


def full():
    reserve = 4 * MIB
    with tempfile.TemporaryDirectory() as place:
        binary = test_binary(place)
        mount, said = Path(place) / "mount", Path(place) / "said"
        mount.mkdir()
        call("mount", "-t", "tmpfs", "-o", "size=64m", "none", mount)
        try:
            journal = mount / "journal"
            child = Child(binary, journal, 0, said, reserve)
            expect("it works on a disk with room", child.listen(60, lambda d: b"ack " in d))
            fill(mount, reserve // 2)
            expect("it refuses when the reserve is touched", child.listen(60, lambda d: b"full" in d))
            child.listen(2)
            expect("nothing is acknowledged then", not child.listen(2, lambda d: b"ack " in d))
            (mount / "filler").unlink()
            expect("it works again by itself", child.listen(60, lambda d: b"ack " in d))
            expect("the ballast is there", (journal / "ballast").exists())
            child.process.kill()
            child.end()
            fill(mount, 0)
            child = Child(binary, journal, 1, said, reserve)
            expect("it opens on a disk without a byte", child.listen(60, lambda d: b"full" in d))
            expect("the ballast is given up", not (journal / "ballast").exists())
            (mount / "filler").unlink()
            expect("it works again by itself", child.listen(60, lambda d: b"ack " in d))
            child.listen(5, lambda _: (journal / "ballast").exists())
            expect("the ballast is there again", (journal / "ballast").exists())
            child.process.kill()
            child.end()
            print(f"{check(binary, journal, said)} acknowledged requests are there")
        finally:
            call("umount", mount)


def main():
    match sys.argv[1:]:
        case ["cut", *rest] if len(rest) <= 2:
            runs, seed = ([int(word) for word in rest] + [200, 7][len(rest) :])[:2]
            cut(runs, seed)
        case ["full"]:
            full()
        case _:
            sys.exit(__doc__)


main()

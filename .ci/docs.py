#!/usr/bin/env python3
"""What the documentation says has to be so: links lead somewhere, TOML blocks are configurations,
commands that are marked run as they stand, and the calls of each provider are those that are made.

Usage: docs.py CANCELOT GRPCURL

Marks are comments in front of a block of sh, or on their own:
  <!-- checked -->            it runs and succeeds
  <!-- checked: TEXT -->      and what it writes contains TEXT
  <!-- checked, serves -->    it is left running once it says that it listens
  <!-- run: COMMANDS -->      what the check alone has to do, such as to end what was left running
  <!-- cluster -->            in docs/runbooks, where each block of sh is marked: it takes a cluster
Blocks of a page run in order in one shell, in a directory and a network of their own; /etc/cancelot
and /var/lib/cancelot are below that directory. Those of docs/runbooks are tried against the service
of .ci/runbooks/service.sh, with its own kubectl for logs, exec and port-forward, and with the words
in capitals replaced.
"""

import fcntl
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^(?:<!-- (?P<mark>(?:checked|run|cluster)[^\n]*?) -->\n)?(?:^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$)?", re.M | re.S)
failures = []
RUNBOOKS = ROOT / "docs/runbooks"
# Seconds for all of a page: some, but on a machine that is busy.
PATIENCE = 600
# What stands for words that a page leaves to its reader, before the words that they begin with.
WORDS = {"HOST:PORT": "localhost:50051", "HOST": "localhost", "ACCOUNT": "rebilly", "ISSUER": "cluster", "CALLER": "billing"}


def ok(what):
    """Says what held, if nothing failed since it was last called."""
    if len(failures) == ok.failures:
        print(f"ok: {what}", flush=True)
    ok.failures = len(failures)


ok.failures = 0


def pages():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )
    return [ROOT / name for name in listed.stdout.split()]


def blocks(text):
    """Marks and fenced blocks in their order: (mark, kind, text)."""
    for found in FENCE.finditer(text):
        if found["mark"] or found["kind"] is not None:
            yield found["mark"], found["kind"], found["text"]


def slug(heading):
    """The anchor of a heading, as GitHub makes it."""
    heading = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def links(found):
    anchors, count = {}, 0
    prose = {page: re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S) for page in found}
    for page, text in prose.items():
        anchors[page] = {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)}
    for page, text in prose.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
            if re.match(r"[a-z]+:", target):
                continue
            count += 1
            path, _, anchor = target.partition("#")
            to = (page.parent / path).resolve() if path else page
            if not to.exists():
                failures.append(f"{page.relative_to(ROOT)}: {target} is not there")
            elif anchor and anchor not in anchors.get(to, ()):
                failures.append(f"{page.relative_to(ROOT)}: {target} is no heading there")
    assert count > 10, "links are found"
    ok(f"{count} links lead somewhere")


def placed(text, work):
    """A text with the paths of a machine below a directory."""
    return re.sub(r"(?<![\w.])/(etc/cancelot|var/lib/cancelot|var/run/secrets)", rf"{work}/\1", text)


def secret(path, work):
    """What a file has to hold that a configuration names: a certificate, a key, or some text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".crt", ".key"):
        own = {suffix: pathlib.Path(work) / f"own{suffix}" for suffix in (".crt", ".key")}
        if not own[".key"].exists():
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-subj", "/CN=docs", "-addext", "subjectAltName=DNS:docs", "-days", "1",
                 "-keyout", own[".key"], "-out", own[".crt"]], check=True, capture_output=True,
            )
        path.write_bytes(own[path.suffix].read_bytes())
    else:
        path.write_text(f"{path.name}-of-32-characters-of-a-checked-page\n")


def configurations(found, cancelot):
    count = 0
    for page in found:
        for _, kind, text in blocks(page.read_text()):
            if kind != "toml":
                continue
            count += 1
            with tempfile.TemporaryDirectory() as work:
                text = placed(text, work)
                for named in re.findall(r'_file = "([^"]+)"', text):
                    secret(pathlib.Path(named), work)
                config = pathlib.Path(work) / "cancelot.toml"
                config.write_text(text)
                checked = subprocess.run(
                    [cancelot, "config", "check", "--config", config], capture_output=True, text=True
                )
                if checked.returncode:
                    failures.append(f"{page.relative_to(ROOT)}:\n{text}\n{checked.stderr}")
    assert count > 5, "configurations are found"
    ok(f"{count} configurations are right")


def runbooks(cancelot, grpcurl):
    """Runs what is marked in the runbooks, each beside a service that has the trouble of its page."""
    with tempfile.TemporaryDirectory() as pki:
        pki_sh = ROOT / ".ci/chart/pki.sh"
        subprocess.run([pki_sh, pki, "localhost", "URI:spiffe://prod/docs"], check=True)
        for page in sorted(RUNBOOKS.glob("*.md")):
            marked = [mark for mark, kind, _ in blocks(page.read_text()) if kind == "sh"]
            if not all(mark and mark.startswith(("checked", "cluster")) for mark in marked):
                failures.append(f"{page.relative_to(ROOT)}: a block of sh is not marked")
            for mark, kind, text in blocks(page.read_text()):
                if mark == "cluster" and not re.search(r"kubectl|HOST", text):
                    failures.append(f"{page.relative_to(ROOT)}: what needs no cluster is not run: {text}")
            commands(page, cancelot, grpcurl, pki)


def commands(page, cancelot, grpcurl, pki=None):
    """Runs what is marked in a page; with the certificates of `pki`, as a runbook."""
    steps, count = [], 0
    for mark, kind, text in blocks(page.read_text()):
        if mark and mark.startswith("run: "):
            steps.append((mark.removeprefix("run: "), "run"))
        if mark and mark.startswith("checked"):
            assert kind == "sh", f"{page}: {mark} stands before no block of sh"
            count += 1
        if mark and kind == "sh" and mark.startswith("checked"):
            steps.append((text, mark))
    if not count:
        return
    with tempfile.TemporaryDirectory() as work:
        bin_dir = pathlib.Path(work) / "bin"
        bin_dir.mkdir()
        (bin_dir / "cancelot").symlink_to(cancelot)
        (bin_dir / "grpcurl").symlink_to(grpcurl)
        lines = [
            "set -euo pipefail",
            "trap 'running=$(jobs -p); [ -z \"$running\" ] || kill $running; wait' EXIT",
            f"export PATH={bin_dir}:$PATH",
            f"mkdir -p {work}/etc/cancelot {work}/var/lib/cancelot {work}/home; cd {work}/home",
            f"ln -s {ROOT}/proto {ROOT}/docs {ROOT}/tests .",
        ]
        if pki:
            (bin_dir / "kubectl").symlink_to(ROOT / ".ci/runbooks/kubectl")
            lines += [f"ETC={work}/etc/cancelot LIB={work}/var/lib/cancelot PKI={pki}",
                      f"exec 3>&1 >{work}/out.0 2>&1", f". {ROOT}/.ci/runbooks/service.sh", "exec >&3 2>&3"]
            steps.insert(0, ("the service of .ci/runbooks", "run"))
        for number, (text, mark) in enumerate(steps):
            if pki and not number:
                continue
            if pki:
                # Where the chart has the journal.
                text = text.replace("/data/journal", "/var/lib/cancelot/journal")
                text = re.sub(r"\b(" + "|".join(WORDS) + r")\b", lambda word: WORDS[word[0]], text)
            # What a reader builds first is what is given here.
            text = placed(text.replace("cargo run --release -- ", "cancelot "), work)
            out = f"{work}/out.{number}"
            if mark.endswith("serves"):
                lines += [f"{{ exec {text.strip()}; }} >{out} 2>&1 &", "served=$!",
                          f"until grep -q '^listening on' {out}; do kill -0 $served; sleep 0.1; done"]
            else:
                lines += [f": >{out}; exec 3>&1 >>{out} 2>&1", text.strip(), "exec >&3 2>&3"]
            if ": " in mark:
                wanted = mark.split(": ", 1)[1].replace("'", "'\\''")
                lines.append(f"grep -qF -- '{wanted}' {out} || {{ echo 'no {wanted}'; exit 1; }}")
        ran = subprocess.run(
            ["timeout", str(PATIENCE), "bash", "-c", "\n".join(lines)], capture_output=True, text=True
        )
        if ran.returncode:
            outs = sorted(pathlib.Path(work).glob("out.*"), key=lambda path: int(path.suffix[1:]))
            last = outs[-1].read_text() if outs else ""
            failures.append(f"{page.relative_to(ROOT)}: block {len(outs)}: {steps[len(outs) - 1][0]}\n{last}{ran.stdout}{ran.stderr}")
            return
    ok(f"{page.relative_to(ROOT)}: {count} blocks of commands run as they stand")


def calls(cancelot, grpcurl):
    """The calls that docs/providers.md lists are those that a simulator receives: all, and no others."""
    listed = {}
    for _, kind, text in blocks((ROOT / "docs/providers.md").read_text()):
        if kind and kind.startswith("calls "):
            listed[kind.removeprefix("calls ")] = set(text.split("\n")) - {""}
    assert len(listed) == 5, listed
    served = subprocess.Popen(
        [cancelot, "serve", "--sandbox"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        control = served.stdout.readline().split()[-1]
        served.stdout.readline()
        whens = ({"now": {}}, {"period_end": {}}, {"provider_default": {}}, {"at": "2099-01-01T00:00:00Z"})
        for dry_run in (True, False):
            for account in ("rebilly", "solidgate", "funnelfox", "revolv3"):
                for number, when in enumerate(whens):
                    for name in ("40", "canceled-4", "missing-4"):
                        one = {"account": account, "subscription_id": f"{name}{number}", "when": when}
                        request(grpcurl, "CancelSubscription", one, dry_run)
            one = {"account": "sequenzy", "sequence_id": "seq_9", "subscriber_id": "sub_1"}
            request(grpcurl, "CancelEnrollments", one, dry_run)
        # An answer that is lost makes a look.
        for account in ("rebilly", "solidgate", "funnelfox", "revolv3"):
            fault = json.dumps({"fault": {"kind": "reset_after"}}).encode()
            asked = urllib.request.Request(f"{control}/{account}/faults", fault, method="POST")
            urllib.request.urlopen(asked).close()
            when = {"provider_default": {}} if account == "funnelfox" else {"now": {}}
            request(grpcurl, "CancelSubscription", {"account": account, "subscription_id": "77", "when": when}, False)
        for provider, lines in listed.items():
            patterns = {
                line: re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(line)) + "$") for line in lines
            }
            met = set()
            base = {"funnelfox": "/funnelfox/public/v1", "sequenzy": "/sequenzy/api/v1"}
            with urllib.request.urlopen(f"{control}/{provider}/requests") as answer:
                for seen in json.load(answer):
                    path = seen["path"].removeprefix(base.get(provider, f"/{provider}"))
                    call = f"{seen['method']} {path}"
                    matching = [line for line, pattern in patterns.items() if pattern.match(call)]
                    if not matching:
                        failures.append(f"docs/providers.md: {provider} is called with {call}")
                    met.update(matching)
            for line in lines - met:
                failures.append(f"docs/providers.md: {provider} is not called with {line}")
    finally:
        served.terminate()
        served.wait()
    ok("providers are called as it is written")


def verified(unit, cancelot):
    """systemd knows every line of the unit."""
    with tempfile.TemporaryDirectory() as work:
        here = pathlib.Path(work) / unit.name
        here.write_text(unit.read_text().replace("/usr/local/bin/cancelot", cancelot))
        said = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True)
        if said.returncode or unit.name in said.stderr:
            failures.append(f"{unit.relative_to(ROOT)}: {said.stderr}")
    ok("systemd takes the unit")


def request(grpcurl, rpc, one, dry_run):
    request.sent += 1
    body = {"idempotency_key": f"docs-{request.sent}", "cancellations": [one], "dry_run": dry_run}
    subprocess.run(
        [grpcurl, "-plaintext", "-d", json.dumps(body), "127.0.0.1:50051",
         f"cancelot.v1.CancellationService/{rpc}"], capture_output=True, check=False,
    )


request.sent = 0


def alone():
    """A network of our own, so that the ports of the documentation are free."""
    if os.environ.get("DOCS_ALONE"):
        name = struct.pack("16sh", b"lo", 0x1)  # IFF_UP
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, 0x8914, name.ljust(40, b"\0"))  # SIOCSIFFLAGS
        return
    os.environ["DOCS_ALONE"] = "1"
    mapped = [] if os.getuid() == 0 else ["--map-root-user"]
    os.execvp("unshare", ["unshare", *mapped, "--net", sys.executable, *sys.argv])


def main():
    cancelot, grpcurl = (os.path.realpath(path) for path in sys.argv[1:3])
    alone()
    found = pages()
    links(found)
    unit = ROOT / "docs/cancelot.service"
    if subprocess.run(["which", "systemd-analyze"], capture_output=True).returncode == 0:
        verified(unit, cancelot)
    readers = [page for page in found if page.parent in (ROOT, ROOT / "docs")]
    configurations(readers, cancelot)
    calls(cancelot, grpcurl)
    for page in readers:
        commands(page, cancelot, grpcurl)
    runbooks(cancelot, grpcurl)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    sys.exit(bool(failures))


main()

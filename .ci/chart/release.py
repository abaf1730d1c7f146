"""Serves the configuration that the chart renders, and does to it what a cluster and its users would:
the probes ask after its health, the commands of the notes call it, and so does `helm test`.

Usage: release.py CANCELOT GRPCURL HELM PKI VALUES...
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cluster
import mounted

# What the kubelet knows of gRPC; the port for it needs no reflection.
HEALTH = """
syntax = "proto3";
package grpc.health.v1;
message HealthCheckRequest { string service = 1; }
message HealthCheckResponse {
  enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; SERVICE_UNKNOWN = 3; }
  ServingStatus status = 1;
}
service Health { rpc Check(HealthCheckRequest) returns (HealthCheckResponse); }
"""

# An account in all of the values.
ACCOUNT = "rebilly-eu"

CHART = Path(__file__).resolve().parents[2] / "helm" / "cancelot"


def render(helm, values, *arguments):
    return subprocess.run(
        [helm, "template", "cancelot", CHART, f"--namespace={cluster.NAMESPACE}", "--kube-version=1.30",
         f"--values={values}", *arguments],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip


def notes(helm, values, directory):
    """The notes, by a copy of the chart in which they are a template like others."""
    copy = directory / "chart"
    shutil.copytree(CHART, copy)
    text = (copy / "templates/NOTES.txt").read_text()
    (copy / "templates/_text.tpl").write_text(f'{{{{- define "notes" }}}}{text}{{{{ end }}}}')
    (copy / "templates/text.yaml").write_text('notes: {{ include "notes" . | toJson }}\n')
    said = subprocess.run(
        [helm, "template", "cancelot", copy, f"--namespace={cluster.NAMESPACE}", "--kube-version=1.30",
         f"--values={values}", "--show-only=templates/text.yaml"],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    return json.loads(said.split("\nnotes: ", 1)[1])


def run(command, wanted, not_yet=None, **options):
    """Runs a command that has to say what is wanted; again while it says what may be at first."""
    deadline = time.monotonic() + 120
    while True:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
        if done.returncode == 0 and wanted in done.stdout:
            return
        said = done.stdout + done.stderr
        if not (not_yet and re.search(not_yet, said)) or time.monotonic() > deadline:
            sys.exit(f"FAILED: {command}: no {wanted!r} in\n{said}")
        time.sleep(0.1)


def serve(cancelot, file, directory):
    """Starts the service, and returns it with the addresses of gRPC and of metrics."""
    log = directory / "log"
    command = [cancelot, "serve", "--config", file]
    for setting in ("server.listen", "server.admin_listen"):
        command += ["--set", f"{setting}=127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=log.open("w"), stderr=subprocess.STDOUT)
    for _ in range(1200):
        said = log.read_text()
        addr = re.search(r"^listening on (\S+)$", said, flags=re.M)
        admin = re.search(r"^metrics and probes on http://(\S+)$", said, flags=re.M)
        if addr and admin:
            return process, addr[1], admin[1]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    sys.exit(f"FAILED: {file} is not served: {said}")


def probe(grpcurl, pod, admin, directory):
    """Asks as the kubelet does, for the names in the probes."""
    (directory / "health.proto").write_text(HEALTH)
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        of_probe = pod.split(f"{name}:\n")[1].split("Seconds:")[0]
        service = re.search(r"service: (\S+)", of_probe)
        asked = f'{{"service": "{service[1] if service else ""}"}}'
        check = [grpcurl, "-plaintext", "-import-path", directory, "-proto", "health.proto"]
        check += ["-d", asked, admin, "grpc.health.v1.Health/Check"]
        run(check, '"SERVING"', not_yet="NOT_SERVING")


def follow_notes(rendered, notes, addr, directory, tools):
    """Runs all commands of the notes in a shell, up to those that would call a provider."""
    commands = notes.split("From here:\n")[1].split("  # What would happen")[0].split("  helm ")[0]
    assert commands.count("  grpcurl ") == 2, commands
    (directory / "rendered").write_text(rendered)
    kubectl = [sys.executable, __file__.replace("release.py", "cluster.py"), "kubectl", tools["pki"]]
    shell = f'kubectl() {{ {shlex.join(map(str, kubectl))} rendered "$@"; }}\n'
    shell += f'grpcurl() {{ {shlex.quote(str(tools["grpcurl"]))} "$@"; }}\n'
    shell += commands.replace("127.0.0.1:50051", addr)
    # An issuer's keys are fetched while the service is serving.
    run(["bash", "-euo", "pipefail", "-c", shell], ACCOUNT, not_yet="keys of the issuer", cwd=directory)


def helm_test(rendered, addr, directory, tools):
    """Runs what the pod of helm test that calls the release does."""
    pod = rendered.split("# Source: cancelot/templates/tests/release.yaml\n")[1].split("\n---\n")[0]
    args = re.match(r"(?: +- .+\n)+", pod.split("args:\n")[1])[0].replace("        - ", "").splitlines()
    shown = directory / "shown"
    shown.mkdir()
    for path in re.findall(r"^ +(?:- )?path: (\S+)$", pod, flags=re.M):
        text = mounted.contents(path, tools["pki"])
        if path == "token":
            name = re.search(r"serviceAccountName: (\S+)", pod)[1]
            audience = re.search(r"audience: (\S+)", pod)[1]
            text = cluster.account_token(tools["pki"], cluster.NAMESPACE, name, audience)
        (shown / path).write_text(text)
    env = dict(os.environ)
    if secret := re.search(r"secretKeyRef:\n +key: (\S+)\n +name: (\S+)", pod):
        env["CANCELOT_TOKEN"] = cluster.held(rendered, secret[2], secret[1], tools["pki"]).strip()
    endpoint = re.search(r"--endpoint=(https?)://(\S+):\d+", "\n".join(args))
    args = [arg.replace(endpoint[0], f"--endpoint={endpoint[1]}://{addr}") for arg in args]
    args = [arg.replace(mounted.SECRETS, str(shown)) for arg in args]
    if endpoint[1] == "https":
        args.append(f"--tls-server-name={endpoint[2]}")
    run([tools["cancelot"], *args], ACCOUNT, env=env)


def main(cancelot, grpcurl, helm, pki, *files):
    given = {"cancelot": cancelot, "grpcurl": grpcurl, "pki": pki}
    tools = {name: Path(path).resolve() for name, path in given.items()}
    api = cluster.api_server(tools["pki"])
    for values in files:
        rendered = render(helm, values)
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            # No address outside of this machine is asked.
            text = re.sub(r'(jwks_url = "https://)[^/]+', rf"\g<1>{api}", mounted.toml_of(rendered))
            file = mounted.mount(text, directory, tools["pki"])
            process, addr, admin = serve(cancelot, file, directory)
            try:
                probe(grpcurl, rendered, admin, directory)
                follow_notes(rendered, notes(helm, values, directory), addr, directory, tools)
                helm_test(rendered, addr, directory, tools)
            finally:
                process.terminate()
                process.wait()
        print(f"ok: served as rendered, with probes, notes and helm test: {Path(values).name}")


if __name__ == "__main__":
    main(*sys.argv[1:])

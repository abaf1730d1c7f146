"""Sets every setting of the configuration reference through the chart's values, and sees that the
file it renders has each of them, with its value, and that the service takes the file.

Usage: keys.py CANCELOT HELM PKI
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import mounted
import reference

CHART = Path(__file__).resolve().parents[2] / "helm" / "cancelot"
PROVIDERS = ["rebilly", "solidgate", "funnelfox", "revolv3", "sequenzy"]

# Values for settings whose kind does not tell a legal one, or that go together with another's.
LEGAL = {
    "listen": "0.0.0.0:7000",
    "admin_listen": "0.0.0.0:7001",
    "journal.dir": "/data/elsewhere",
    "audit.dir": "/data/audit",
    "filter": 'info,cancelot::egress=debug,cancelot[a{b="<&>"}]=warn',
    "auth": "bearer",
    "base_url": "https://api.example.com:8443",
    "proxy_url": "http://127.0.0.1:3128",
    "lookup_path": "v3/look",
    "organization": "org_1",
    "channel_id": "a:b-1",
    "environment": "live",
    "token_env": "TOKEN_OF_C",
    "credential_env": "CREDENTIAL",
    "jwks_url": "https://id.example.com:8443/keys",
    "otlp_endpoint": "http://collector.example.com:4317",
    "jwt_issuer": "by-url",
    "require": "any",
    "jwt_claims": ["azp=c", 'tenant="<a>"'],
    "tls_sans": ["spiffe://prod/ns/c/sa/worker", "dns:c.internal"],
    "authority": "partner",
    "callers.accounts": ["rebilly*", "sequenzy"],
}
# What proves a caller: each is set for a caller of its own, with what belongs to it.
PROOFS = [["token_file"], ["token_env"], ["jwt_issuer", "jwt_subjects", "jwt_claims"], ["tls_sans", "authority"]]


def legal(setting):
    """A value of the setting: the largest, since large numbers are the ones that are misprinted."""
    section = setting.section.removesuffix(".<name>")
    for key in (f"{section}.{setting.word}", setting.word):
        if key in LEGAL:
            return LEGAL[key]
    if setting.kind.startswith("list of: "):
        item = setting._replace(kind=setting.kind.removeprefix("list of: "))
        return words(item.kind) or [legal(item), "another"]
    if setting.kind == "path":
        return f"{mounted.SECRETS}/{section}/{setting.word}"
    if setting.kind == "true or false":
        return True
    if bounds := re.fullmatch(r"whole number from (\d+) to (\d+)", setting.kind):
        return int(bounds[2])
    if bounds := re.fullmatch(r"number from (\S+) to (\S+)", setting.kind):
        return (float(bounds[1]) + float(bounds[2])) / 2
    if words(setting.kind):
        return words(setting.kind)[-1]
    return "name"


def words(kind):
    """The words of a kind that is one of them."""
    return re.findall(r"`(\w+)`", kind) if re.fullmatch(r"`\w+`(, `\w+`)*", kind) else []


def wanted(settings):
    """The configuration to be reached, and the settings that are reached by variables."""
    config, variables = {"callers": {}, "accounts": {}}, {}
    for provider in PROVIDERS:
        config["accounts"][provider] = {"provider": provider}
    issuers = {"by-url": {}, "by-file": {"issuer": "other", "audiences": ["a"]}}
    for s in settings:
        if not s.in_file:
            variables[s.variable.replace("NAME", "BY_VARIABLE")] = "a-secret-of-more-than-16"
        elif s.section == "issuers.<name>":
            issuers["by-file" if s.word == "jwks_file" else "by-url"][s.word] = legal(s)
        elif s.section == "authorities.<name>":
            config.setdefault("authorities", {}).setdefault("partner", {})[s.word] = legal(s)
        elif s.section == "callers.<name>":
            proof = next((group[0] for group in PROOFS if s.word in group), "secret")
            name = f"by-{proof}".replace("_", "-")
            config["callers"].setdefault(name, {})[s.word] = legal(s)
        elif s.section != "accounts.<name>":
            config.setdefault(s.section, {})[s.word] = legal(s)
        elif s.word == "credential_env":
            config["accounts"]["rebilly"][s.word] = legal(s)
        elif s.word not in ("provider", "credential_file"):
            for provider in s.owners or PROVIDERS:
                config["accounts"][provider][s.word] = legal(s)
    variables["CANCELOT_ACCOUNTS_BY_VARIABLE_PROVIDER"] = "rebilly"
    return {**config, "issuers": issuers}, variables


def render(helm, values, template):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        return subprocess.run(
            [helm, "template", "keys", CHART, "--kube-version=1.30", f"--values={file.name}",
             f"--show-only=templates/{template}"],
            check=True, stdout=subprocess.PIPE, text=True,
        ).stdout  # fmt: skip


def main(cancelot, helm, pki):
    config, variables = wanted(reference.settings(cancelot))
    given = json.loads(json.dumps(config))
    for provider in PROVIDERS[1:]:
        given["accounts"][provider]["existingSecret"] = "secrets"
        config["accounts"][provider]["credential_file"] = f"{mounted.SECRETS}/accounts/{provider}"
    given["callers"]["by-secret"]["existingSecret"] = "secrets"
    config["callers"]["by-secret"]["token_file"] = f"{mounted.SECRETS}/callers/by-secret"
    env = [{"name": name, "value": text} for name, text in variables.items()]
    values = {"config": given, "extraEnv": env, "networkPolicy": {"open": True}}

    text = mounted.toml_of(render(helm, values, "configmap.yaml"))
    found = tomllib.loads(text)
    differ = 0
    for group in sorted(config.keys() | found.keys()):
        if config.get(group) != found.get(group):
            print(f"FAILED: [{group}] was to be {config.get(group)}\n  and is {found.get(group)}")
            differ = 1
    pod = render(helm, values, "statefulset.yaml")
    for variable in variables:
        if f"name: {variable}" not in pod:
            print(f"FAILED: the pod has no variable {variable}")
            differ = 1

    with tempfile.TemporaryDirectory() as directory:
        file = mounted.mount(text, Path(directory), Path(pki))
        env = {**variables, "TOKEN_OF_C": "the-token-of-c-is-secret", "CREDENTIAL": "secret"}
        checked = subprocess.run([cancelot, "config", "check", "--config", file], env=env)
    sys.exit(differ or checked.returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])

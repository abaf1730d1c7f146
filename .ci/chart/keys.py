"""Sets every setting of the configuration reference through the chart's values, and sees that the
file it renders has each of them, with its value, and that the service takes the file.

Usage: keys.py CANCELOT HELM
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import reference

CHART = Path(__file__).resolve().parents[2] / "helm" / "cancelot"
PROVIDERS = ["rebilly", "solidgate", "funnelfox", "revolv3", "sequenzy"]
SECRETS = "/var/run/secrets/cancelot"
JWKS = (
    '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
)
# Where an issuer's keys are: in a file, or at a URL with all that belongs to it.
KEYS = {"by-file": {"jwks_file"}, "by-url": set()}
KEYS["by-url"] = {"jwks_url", "jwks_ca_file", "jwks_token_file", "jwks_refresh_ms"}

# Values for settings whose kind does not tell a legal one, or that go together with another's.
LEGAL = {
    "listen": "0.0.0.0:7000",
    "dir": "/data/elsewhere",
    "filter": 'info,cancelot::egress=debug,cancelot[a{b="<&>"}]=warn',
    "auth": "bearer",
    "base_url": "https://api.example.com:8443",
    "proxy_url": "http://127.0.0.1:3128",
    "lookup_path": "v3/look",
    "environment": "live",
    "token_env": "TOKEN_OF_C",
    "tls_client_auth": "required",
    "jwks_url": "https://keys.example.com/jwks",
    "jwt_issuer": "by-url",
    "jwt_subjects": ["system:serviceaccount:billing:worker", "another"],
    "jwt_claims": ["azp=billing"],
    "tls_sans": ["dns:billing.internal", "spiffe://prod/ns/billing/sa/worker"],
    "accounts": ["rebilly-*", "solidgate"],
    "credential_env": "CREDENTIAL",
}


def legal(setting):
    """A value of the setting: the largest, since large numbers are the ones that are misprinted."""
    if setting.word in LEGAL:
        return LEGAL[setting.word]
    if setting.kind.startswith("list of: "):
        kind = setting.kind.removeprefix("list of: ")
        return re.findall(r"`(\w+)`", kind) or ["one", "another"]
    if setting.kind == "true or false":
        return True
    if bounds := re.fullmatch(r"whole number from (\d+) to (\d+)", setting.kind):
        return int(bounds[2])
    if bounds := re.fullmatch(r"number from (\S+) to (\S+)", setting.kind):
        return float(bounds[1])
    if setting.kind.startswith("`"):
        return re.findall(r"`(\w+)`", setting.kind)[-1]
    return 'quoted"name' if setting.kind.startswith("1-255 characters") else "name"


def wanted(settings):
    """The configuration to be reached, and the settings that are reached by variables."""
    config, variables = {"callers": {"whole": {}}, "accounts": {}, "issuers": {}}, {}
    for name in KEYS:
        config["issuers"][name] = {"issuer": f"https://{name}.example.com"}
    for provider in PROVIDERS:
        config["accounts"][provider] = {"provider": provider}
    for s in settings:
        if not s.in_file:
            variables[s.variable.replace("NAME", "BY_VARIABLE")] = "a-secret-of-more-than-16"
        elif s.word in ("token_file", "token_env"):
            config["callers"][s.word.replace("_", "-")] = {s.word: legal(s)}
        elif s.section == "callers.<name>":
            config["callers"]["whole"][s.word] = legal(s)
        elif s.section == "issuers.<name>":
            for name, own in KEYS.items():
                if s.word != "issuer" and (s.word in own or not s.word.startswith("jwks_")):
                    config["issuers"][name][s.word] = legal(s)
        elif s.section != "accounts.<name>":
            config.setdefault(s.section, {})[s.word] = legal(s)
        elif s.word == "credential_env":
            config["accounts"]["rebilly"][s.word] = legal(s)
        elif s.word not in ("provider", "credential_file"):
            for provider in s.owners or PROVIDERS:
                config["accounts"][provider][s.word] = legal(s)
    variables["CANCELOT_ACCOUNTS_BY_VARIABLE_PROVIDER"] = "rebilly"
    return config, variables


def render(helm, values, template):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        return subprocess.run(
            [helm, "template", "keys", CHART, "--kube-version=1.30", f"--values={file.name}",
             f"--show-only=templates/{template}"],
            check=True, stdout=subprocess.PIPE, text=True,
        ).stdout  # fmt: skip


def main(cancelot, helm):
    settings = reference.settings(cancelot)
    config, variables = wanted(settings)
    with tempfile.TemporaryDirectory() as directory:
        token = Path(directory) / "token"
        token.write_text("another-secret-of-more-than-16")
        config["callers"]["token-file"] = {"token_file": str(token)}
        cert, key, jwks = (str(Path(directory) / name) for name in ("cert", "key", "jwks"))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-subj", "/CN=keys", "-out", cert, "-keyout", key],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        Path(jwks).write_text(JWKS)
        config["server"] |= {"tls_cert_file": cert, "tls_client_ca_file": cert}
        config["server"]["tls_key_file"] = key
        config["issuers"]["by-file"]["jwks_file"] = jwks
        config["issuers"]["by-url"] |= {"jwks_ca_file": cert, "jwks_token_file": str(token)}
        given = json.loads(json.dumps(config))
        for provider in PROVIDERS[1:]:
            given["accounts"][provider]["existingSecret"] = "secrets"
            config["accounts"][provider]["credential_file"] = f"{SECRETS}/accounts/{provider}"
        given["callers"]["by-secret"] = {"existingSecret": "secrets"}
        config["callers"]["by-secret"] = {"token_file": f"{SECRETS}/callers/by-secret"}
        env = [{"name": name, "value": text} for name, text in variables.items()]
        values = {"config": given, "extraEnv": env}

        rendered = render(helm, values, "configmap.yaml").split("cancelot.toml: |\n")[1]
        text = re.sub(r"^    ", "", rendered, flags=re.M)
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

        # As it would be in the pod: the secrets where the chart mounts them.
        mounted = Path(directory) / "secrets"
        for group, names in {"accounts": PROVIDERS[1:], "callers": ["by-secret"]}.items():
            (mounted / group).mkdir(parents=True)
            for name in names:
                (mounted / group / name).write_text(f"one-more-secret-of-{name}")
        file = Path(directory) / "cancelot.toml"
        file.write_text(text.replace(SECRETS, str(mounted)))
        env = {**variables, "TOKEN_OF_C": "the-token-of-c-is-secret", "CREDENTIAL": "secret"}
        checked = subprocess.run([cancelot, "config", "check", "--config", file], env=env)
        sys.exit(differ or checked.returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What Secrets, ConfigMaps and projected tokens would hold in a cluster, by the paths at which the
chart mounts them; and the configuration as the pod would read it.
"""

import re

SECRETS = "/var/run/secrets/cancelot"
# `defaultMode` of the chart's volumes.
MODE = 0o440

# Files of the PKI, by the path below the mount of the server's pod, of the settings in keys.py, and
# of the pod of helm test, which is a client.
FILES = {
    "tls/tls.crt": "tls.crt",
    "tls/tls.key": "tls.key",
    "tls/client-ca.crt": "ca.crt",
    "kubernetes/ca.crt": "ca.crt",
    "server/tls_cert_file": "tls.crt",
    "server/tls_key_file": "tls.key",
    "server/tls_client_ca_file": "ca.crt",
    "server/tls_client_crl_file": "ca.crl",
    "server/revoked_file": "revoked",
    "audit/sign_key_file": "audit.key",
    "authorities/ca_file": "ca.crt",
    "issuers/jwks_ca_file": "ca.crt",
    "issuers/jwks_file": "jwks.json",
    "ca.crt": "ca.crt",
    "tls.crt": "client.crt",
    "tls.key": "client.key",
}


def contents(path, pki):
    """What is at a path below the mount: of the PKI, or a secret of the path's own."""
    if path in FILES:
        return (pki / FILES[path]).read_text()
    return f"one-more-secret-of-{path}\n"


def toml_of(rendered):
    """The configuration in what Helm has rendered."""
    text = rendered.split("cancelot.toml: |\n")[1].split("\n---\n")[0]
    return re.sub(r"^    ", "", text, flags=re.M)


def mount(text, directory, pki):
    """Writes a configuration and what it names into a directory, and returns the file's path."""
    for path in re.findall(rf'"{SECRETS}/(.+)"', text):
        file = directory / "secrets" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(contents(path, pki))
        file.chmod(MODE)
    file = directory / "cancelot.toml"
    text = text.replace(SECRETS, str(directory / "secrets"))
    file.write_text(text.replace('"/data/', f'"{directory}/data/'))
    file.chmod(MODE)
    return file

"""As much of a cluster as the notes and helm test meet: an API server that publishes the keys of its
tokens, and `kubectl` for what is in Secrets and ConfigMaps.

Usage: cluster.py kubectl PKI RENDERED ARGUMENTS...
"""

import base64
import json
import re
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mounted

NAMESPACE = "ends"
ISSUER = "https://kubernetes.default.svc.cluster.local"


def api_server(pki):
    """Serves the keys to whoever shows the pod's own token, and returns the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            token = mounted.contents("kubernetes/token", pki).strip()
            knows = self.headers["authorization"] == f"Bearer {token}"
            if not knows or self.path != "/openid/v1/jwks":
                return self.send_error(401 if not knows else 404)
            keys = (pki / "jwks.json").read_bytes()
            self.send_response(200)
            self.send_header("content-length", str(len(keys)))
            self.end_headers()
            self.wfile.write(keys)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "tls.crt", pki / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"


def account_token(pki, namespace, name, audience):
    """A token of a ServiceAccount, as the cluster signs it."""

    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    now = int(time.time())
    subject = f"system:serviceaccount:{namespace}:{name}"
    claims = {"iss": ISSUER, "aud": [audience], "sub": subject, "iat": now, "exp": now + 600}
    parts = [{"alg": "ES256", "kid": "one", "typ": "JWT"}, claims]
    signed = b".".join(encoded(json.dumps(part).encode()) for part in parts)
    command = ["openssl", "dgst", "-sha256", "-sign", pki / "issuer.key"]
    der = subprocess.run(command, input=signed, check=True, capture_output=True).stdout
    # A sequence of two integers, each after its kind and its length.
    first = der[4 : 4 + der[3]]
    second = der[6 + der[3] :]
    raw = b"".join(int.from_bytes(n).to_bytes(32) for n in (first, second))
    return (signed + b"." + encoded(raw)).decode()


def held(rendered, name, key, pki):
    """What an object holds: one of those that the chart mounts or shows, by where it does."""
    sources = re.findall(rf"name: {re.escape(name)}\n\s+items:\n((?:\s+- key: .*\n\s+path: .*\n)+)", rendered)
    paths = re.findall(rf"- key: {re.escape(key)}\n\s+path: (.*)\n", "".join(sources))
    if not paths:
        sys.exit(f"FAILED: no pod of the chart has {key} of {name}")
    return mounted.contents(paths[0], pki)


def kubectl(pki, rendered, namespace_flag, namespace, verb, *arguments):
    assert namespace_flag == "--namespace"
    if verb == "create":
        kind, name, flag, audience = arguments
        assert (kind, flag) == ("token", "--audience")
        print(account_token(pki, namespace, name, audience))
    elif verb == "get":
        kind, name, flag, template = arguments
        assert (namespace, flag) == (NAMESPACE, "-o")
        # A dot that is not escaped would lead below the key.
        key = re.fullmatch(r"jsonpath=\{\.data\.((?:[^.\\]|\\\.)+)\}", template)[1].replace("\\.", ".")
        text = held(rendered, name, key, pki)
        print(base64.b64encode(text.encode()).decode() if kind == "secret" else text, end="")
    else:
        assert verb == "port-forward", verb


if __name__ == "__main__":
    assert sys.argv[1] == "kubectl"
    kubectl(Path(sys.argv[2]), Path(sys.argv[3]).read_text(), *sys.argv[4:])

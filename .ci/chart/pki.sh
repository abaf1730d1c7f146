#!/usr/bin/env bash
# Makes certificates and keys as a cluster would have them, good for a day or so many, in a directory: an authority
# (ca.crt) and what it has revoked, nothing (ca.crl), a list of revoked proofs without any (revoked), the service's certificate (tls.crt, tls.key) and a client's (client.crt, client.key), each
# by that authority, the key of an issuer of tokens (issuer.key, and jwks.json with its public part), and one that signs an
# audit (audit.key).
# Usage: pki.sh DIRECTORY SERVICE_NAME CLIENT_SAN [DAYS]
set -euo pipefail
cd "$1"
days=${4:-1}
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
signed() { # signed NAME SUBJECT_ALT_NAMES USAGE
  key "$1.key"
  openssl req -new -key "$1.key" -subj "/CN=$1" |
    openssl x509 -req -CA ca.crt -CAkey ca.key -days "$days" -out "$1.crt" 2>/dev/null \
      -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=%s\nbasicConstraints=CA:false\n' "$2" "$3")
}
key ca.key
openssl req -x509 -new -key ca.key -subj /CN=authority -days "$days" -out ca.crt \
  -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign
: >ca.index
echo 01 >ca.number
openssl ca -gencrl -cert ca.crt -keyfile ca.key -crldays "$days" -out ca.crl 2>/dev/null -config \
  <(printf '[ca]\ndefault_ca=all\n[all]\ndatabase=ca.index\ncrlnumber=ca.number\ndefault_md=sha256\ncrl_extensions=all_lists\n[all_lists]\nauthorityKeyIdentifier=keyid\n')
printf '# None is revoked.\n' >revoked
signed tls "DNS:$2,IP:127.0.0.1" serverAuth
signed client "$3" clientAuth
key issuer.key
openssl genpkey -algorithm ed25519 -out audit.key
# The last 64 bytes of the public key are its two coordinates.
coordinates() {
  openssl pkey -in issuer.key -pubout -outform DER | tail -c 64 | "$@" | basenc -w0 --base64url | tr -d =
}
printf '{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"one","x":"%s","y":"%s"}]}\n' \
  "$(coordinates head -c 32)" "$(coordinates tail -c 32)" >jwks.json

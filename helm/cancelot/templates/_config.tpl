{{/* Where the chart mounts Secrets and ConfigMaps: files of accounts, callers, TLS and the cluster. */}}
{{- define "cancelot.secretsDir" -}}/var/run/secrets/cancelot{{- end }}

{{/*
A value in TOML. JSON's strings and lists of them are TOML's; numbers of YAML come as floats, also
whole ones.
*/}}
{{- define "cancelot.toml.value" -}}
{{- if or (kindIs "string" .) (kindIs "slice" .) }}
{{- toJson . }}
{{- else if kindIs "bool" . }}
{{- . }}
{{- else if eq (float64 .) (floor .) }}
{{- int64 . }}
{{- else }}
{{- . }}
{{- end }}
{{- end }}

{{/* A table in TOML: dict "name" "settings". */}}
{{- define "cancelot.toml.table" -}}
{{- printf "\n[%s]\n" .name }}
{{- range $key, $value := .settings }}
{{- if not (kindIs "invalid" $value) }}
{{- printf "%s = %s\n" $key (include "cancelot.toml.value" $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The settings as JSON: those that are given, and the paths of what the chart mounts for them. */}}
{{- define "cancelot.settings" -}}
{{- $secrets := include "cancelot.secretsDir" . }}
{{- $settings := deepCopy .Values.config }}
{{- if include "cancelot.tlsSecret" . }}
{{- $_ := set $settings.server "tls_cert_file" (printf "%s/tls/tls.crt" $secrets) }}
{{- $_ := set $settings.server "tls_key_file" (printf "%s/tls/tls.key" $secrets) }}
{{- end }}
{{- with .Values.tls.clientCA }}
{{- if or .existingSecret .configMap }}
{{- $_ := set $settings.server "tls_client_ca_file" (printf "%s/tls/client-ca.crt" $secrets) }}
{{- end }}
{{- end }}
{{- with .Values.kubernetesCallers }}
{{- if .enabled }}
{{- $issuer := dict "issuer" (.issuer | default (printf "https://kubernetes.default.svc.%s" $.Values.clusterDomain)) "audiences" .audiences }}
{{- $_ := set $issuer "jwks_url" "https://kubernetes.default.svc/openid/v1/jwks" }}
{{- $_ := set $issuer "jwks_ca_file" (printf "%s/kubernetes/ca.crt" $secrets) }}
{{- $_ := set $issuer "jwks_token_file" (printf "%s/kubernetes/token" $secrets) }}
{{- $_ := set $settings "issuers" (merge (dict "kubernetes" $issuer) ($settings.issuers | default dict)) }}
{{- end }}
{{- end }}
{{- range $group, $file := dict "callers" "token_file" "accounts" "credential_file" }}
{{- range $name, $given := index $settings $group }}
{{- if $given.existingSecret }}
{{- $_ := set $given $file (printf "%s/%s/%s" $secrets $group $name) }}
{{- end }}
{{- $_ := unset $given "existingSecret" }}
{{- $_ := unset $given "secretKey" }}
{{- end }}
{{- end }}
{{- toJson $settings }}
{{- end }}

{{/* The configuration file. */}}
{{- define "cancelot.toml" -}}
{{- $settings := include "cancelot.settings" . | fromJson -}}
{{- $groups := list "authorities" "issuers" "callers" "accounts" -}}
# Written by the chart from the values below `config`.
{{ range $name, $section := $settings }}
{{- if and $section (not (has $name $groups)) }}
{{- include "cancelot.toml.table" (dict "name" $name "settings" $section) }}
{{- end }}
{{- end }}
{{- range $group := $groups }}
{{- range $name, $given := index $settings $group }}
{{- include "cancelot.toml.table" (dict "name" (printf "%s.%s" $group $name) "settings" $given) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
What a pod is replaced for when it changes. Callers and issuers are not: the service takes them from
its file as that changes, but for the first callers and the last ones.
*/}}
{{- define "cancelot.restartedBy" -}}
{{- $settings := include "cancelot.settings" . | fromJson }}
{{- $rest := omit $settings "callers" "issuers" }}
{{- $_ := set $rest "hasCallers" (not (empty $settings.callers)) }}
{{- toJson $rest }}
{{- end }}

{{/* What the projected volume of secrets holds; empty without any. */}}
{{- define "cancelot.secretSources" -}}
{{- range $group, $key := dict "callers" "token" "accounts" "credential" }}
{{- range $name, $given := index $.Values.config $group }}
{{- with $given.existingSecret }}
- secret:
    name: {{ . }}
    items:
      - key: {{ $given.secretKey | default $key }}
        path: {{ $group }}/{{ $name }}
{{- end }}
{{- end }}
{{- end }}
{{- with include "cancelot.tlsSecret" . }}
- secret:
    name: {{ . }}
    items:
      - key: tls.crt
        path: tls/tls.crt
      - key: tls.key
        path: tls/tls.key
{{- end }}
{{- with .Values.tls.clientCA }}
{{- if or .existingSecret .configMap }}
{{ include "cancelot.authorities" (dict "from" . "path" "tls/client-ca.crt") }}
{{- end }}
{{- end }}
{{- if .Values.kubernetesCallers.enabled }}
# For the API server itself, which wants to know who asks for its keys.
- serviceAccountToken:
    path: kubernetes/token
    expirationSeconds: {{ int64 .Values.kubernetesCallers.tokenExpirationSeconds }}
- configMap:
    name: kube-root-ca.crt
    items:
      - key: ca.crt
        path: kubernetes/ca.crt
{{- end }}
{{- end }}

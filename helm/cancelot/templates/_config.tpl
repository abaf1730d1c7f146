{{/* Where the chart mounts secrets, by "accounts" or "callers" and name. */}}
{{- define "cancelot.secretsDir" -}}/var/run/secrets/cancelot{{- end }}

{{/* A value in TOML. JSON's strings are TOML's; numbers of YAML come as floats, also whole ones. */}}
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

{{/* The configuration file. */}}
{{- define "cancelot.toml" -}}
{{- $secrets := include "cancelot.secretsDir" . -}}
# Written by the chart from the values below `config`.
{{ range $name := list "server" "journal" "engine" "log" }}
{{- with index $.Values.config $name }}
{{- include "cancelot.toml.table" (dict "name" $name "settings" .) }}
{{- end }}
{{- end }}
{{- range $name, $settings := .Values.config.issuers }}
{{- include "cancelot.toml.table" (dict "name" (printf "issuers.%s" $name) "settings" $settings) }}
{{- end }}
{{- range $group, $file := dict "callers" "token_file" "accounts" "credential_file" }}
{{- range $name, $given := index $.Values.config $group }}
{{- $settings := omit $given "existingSecret" "secretKey" }}
{{- if $given.existingSecret }}
{{- $settings = set $settings $file (printf "%s/%s/%s" $secrets $group $name) }}
{{- end }}
{{- include "cancelot.toml.table" (dict "name" (printf "%s.%s" $group $name) "settings" $settings) }}
{{- end }}
{{- end }}
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
{{- end }}

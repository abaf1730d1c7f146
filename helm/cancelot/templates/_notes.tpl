{{/*
The caller that the notes call as, as JSON: its `accounts`, if it may not name all, and the command that
gets its `token` or whether it has a `certificate` instead. Without fields if none is asked for.
*/}}
{{- define "cancelot.notes.caller" -}}
{{- $found := dict }}
{{- $certificate := and (include "cancelot.clientCertNeeded" .) .Values.tests.clientCertSecret }}
{{- range $caller := .Values.config.callers }}
{{- if or (not $caller.methods) (and (has "ListAccounts" $caller.methods) (has "CancelSubscription" $caller.methods)) }}
{{- $account := regexFind "^system:serviceaccount:[^:]+:[^:]+$" (first ($caller.jwt_subjects | default (list ""))) }}
{{- if and $caller.tls_sans $certificate }}
{{- /* Before all others: with a caller's certificate, another's token is worth nothing. */ -}}
{{- $found = dict "certificate" true "accounts" $caller.accounts }}
{{- else if or $found.token (and $found $certificate) }}
{{- else if $caller.existingSecret }}
{{- $found = dict "token" (printf "$(kubectl --namespace %s get secret %s -o jsonpath='{.data.%s}' | base64 -d | head -n 1)" $.Release.Namespace $caller.existingSecret ($caller.secretKey | default "token" | replace "." "\\.")) "accounts" $caller.accounts }}
{{- else if and $account $.Values.kubernetesCallers.enabled (eq ($caller.jwt_issuer | default "") "kubernetes") }}
{{- $parts := splitList ":" $account }}
{{- $found = dict "token" (printf "$(kubectl --namespace %s create token %s --audience %s)" (index $parts 2) (index $parts 3) (first $.Values.kubernetesCallers.audiences)) "accounts" $caller.accounts }}
{{- else if and $caller.tls_sans (not $found) }}
{{- $found = dict "certificate" true "accounts" $caller.accounts }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.config.callers (not $found) }}
{{- $found = dict "token" "...   # of a configured caller" }}
{{- end }}
{{- $found | toJson }}
{{- end }}

{{/* What has to be there before the first call: lines with commands. */}}
{{- define "cancelot.notes.before" -}}
{{- $caller := include "cancelot.notes.caller" . | fromJson }}
kubectl --namespace {{ .Release.Namespace }} port-forward service/{{ include "cancelot.fullname" . }} 50051:{{ .Values.service.port }} &
{{- if include "cancelot.tls" . }}
{{- with include "cancelot.serverCA" . | fromJson }}
kubectl --namespace {{ $.Release.Namespace }} get {{ ternary "configmap" "secret" (not (empty .configMap)) }} {{ .configMap | default .existingSecret }} -o jsonpath='{.data.{{ .key | replace "." "\\." }}}' {{ if not .configMap }}| base64 -d {{ end }}>ca.crt
{{- end }}
{{- if or $caller.certificate (include "cancelot.clientCertNeeded" .) }}
{{- with .Values.tests.clientCertSecret }}
{{- range $file, $key := dict "client.crt" "tls\\.crt" "client.key" "tls\\.key" }}
kubectl --namespace {{ $.Release.Namespace }} get secret {{ $.Values.tests.clientCertSecret }} -o jsonpath='{.data.{{ $key }}}' | base64 -d >{{ $file }}
{{- end }}
{{- else }}
# client.crt and client.key: a certificate of {{ if $caller.certificate }}a caller's{{ else }}an authority in tls.clientCA{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- with $caller.token }}
TOKEN={{ . }}
{{- end }}
{{- end }}

{{/* How grpcurl reaches the service. */}}
{{- define "cancelot.notes.flags" -}}
{{- $caller := include "cancelot.notes.caller" . | fromJson }}
{{- if include "cancelot.tls" . }}
{{- if include "cancelot.serverCA" . | fromJson }}-cacert ca.crt {{ end }}
{{- if or $caller.certificate (include "cancelot.clientCertNeeded" .) }}-cert client.crt -key client.key {{ end }}
{{- "" }}-authority {{ .Values.tls.serverName | default (include "cancelot.host" .) }}
{{- else }}-plaintext
{{- end }}
{{- end }}

{{/* The first account whose subscriptions the caller may cancel; empty if there is none. */}}
{{- define "cancelot.notes.account" -}}
{{- $allowed := (include "cancelot.notes.caller" . | fromJson).accounts | default (list "*") }}
{{- range $name, $account := .Values.config.accounts }}
{{- $may := false }}
{{- range $allowed }}
{{- $may = or $may (regexMatch (printf "^%s$" (replace "*" ".*" .)) $name) }}
{{- end }}
{{- if and $may (ne $account.provider "sequenzy") }}
{{- $name }}
{{- break }}
{{- end }}
{{- end }}
{{- end }}

{{/*
How `helm test` shows which caller it is, as JSON: `certificate`, whether it shows one; and one of
`token` (a Secret and its key), `serviceAccount` (audience of its token), `nothing` more. Without
fields if it can be no caller that may list accounts.
*/}}
{{- define "cancelot.testProof" -}}
{{- $certificate := not (empty .Values.tests.clientCertSecret) }}
{{- $found := dict }}
{{- if and (include "cancelot.clientCertNeeded" .) (not $certificate) }}
{{- else if and .Values.config.server.insecure (not .Values.config.callers) }}
{{- $found = dict "nothing" true }}
{{- else }}
{{- $self := printf "system:serviceaccount:%s:%s" .Release.Namespace (include "cancelot.testServiceAccountName" .) }}
{{- range $caller := .Values.config.callers }}
{{- if or (not $caller.methods) (has "ListAccounts" $caller.methods) }}
{{- if and $certificate $caller.tls_sans }}
{{- /* Before all others: with a caller's certificate, another's token is worth nothing. */ -}}
{{- $found = dict "nothing" true }}
{{- else if $found }}
{{- else if $caller.existingSecret }}
{{- $found = dict "token" (dict "name" $caller.existingSecret "key" ($caller.secretKey | default "token")) }}
{{- else if and $.Values.kubernetesCallers.enabled (eq ($caller.jwt_issuer | default "") "kubernetes") (has $self ($caller.jwt_subjects | default list)) }}
{{- $found = dict "serviceAccount" (first $.Values.kubernetesCallers.audiences) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if $found }}
{{- $found = merge $found (dict "certificate" $certificate) }}
{{- end }}
{{- $found | toJson }}
{{- end }}

{{- define "cancelot.testServiceAccountName" -}}
{{- .Values.tests.serviceAccountName | default (include "cancelot.serviceAccountName" .) }}
{{- end }}

{{/* The projected volume with what the client of `helm test` believes and shows; empty without any. */}}
{{- define "cancelot.testSources" -}}
{{- $proof := include "cancelot.testProof" . | fromJson }}
{{- if include "cancelot.tls" . }}
{{- with include "cancelot.serverCA" . | fromJson }}
{{ include "cancelot.authorities" (dict "from" . "path" "ca.crt") }}
{{- end }}
{{- if $proof.certificate }}
- secret:
    name: {{ .Values.tests.clientCertSecret }}
    items:
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
{{- end }}
{{- end }}
{{- with $proof.serviceAccount }}
- serviceAccountToken:
    path: token
    audience: {{ . }}
    expirationSeconds: 600
{{- end }}
{{- end }}

{{/* Arguments of the client of `helm test`, beside the command. */}}
{{- define "cancelot.testArgs" -}}
{{- $proof := include "cancelot.testProof" . | fromJson }}
{{- $dir := include "cancelot.secretsDir" . }}
{{- $tls := include "cancelot.tls" . }}
- --endpoint={{ ternary "https" "http" (not (empty $tls)) }}://{{ include "cancelot.host" . }}:{{ .Values.service.port }}
{{- if $tls }}
{{- if include "cancelot.serverCA" . | fromJson }}
- --tls-ca-file={{ $dir }}/ca.crt
{{- end }}
{{- with .Values.tls.serverName }}
- --tls-server-name={{ . }}
{{- end }}
{{- if $proof.certificate }}
- --tls-cert-file={{ $dir }}/tls.crt
- --tls-key-file={{ $dir }}/tls.key
{{- end }}
{{- else if or $proof.token $proof.serviceAccount }}
- --allow-plaintext-token
{{- end }}
{{- if $proof.serviceAccount }}
- --token-file={{ $dir }}/token
{{- end }}
{{- end }}

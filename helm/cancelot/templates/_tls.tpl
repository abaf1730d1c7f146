{{/* The Secret with the service's certificate; empty if the chart has none. */}}
{{- define "cancelot.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}
{{- include "cancelot.fullname" . }}-tls
{{- else }}
{{- .Values.tls.existingSecret }}
{{- end }}
{{- end }}

{{/* Not empty if the service speaks TLS, by the chart's files or by others. */}}
{{- define "cancelot.tls" -}}
{{- if or (include "cancelot.tlsSecret" .) .Values.config.server.tls_cert_file }}yes{{ end }}
{{- end }}

{{/* What clients call the service, as its certificate has it. */}}
{{- define "cancelot.host" -}}
{{ include "cancelot.fullname" . }}.{{ .Release.Namespace }}.svc
{{- end }}

{{/* How a port that serves gRPC is to be spoken to, for proxies in front of it. */}}
{{- define "cancelot.appProtocol" -}}
{{- if include "cancelot.tls" . }}https{{ else }}kubernetes.io/h2c{{ end }}
{{- end }}

{{/*
Where the authorities of the service's certificate are: JSON like tls.serverCA, without fields if they
are the system's.
*/}}
{{- define "cancelot.serverCA" -}}
{{- $ca := .Values.tls.serverCA }}
{{- $secret := $ca.existingSecret | default (include "cancelot.tlsSecret" .) }}
{{- if and $ca.key (or $ca.configMap $secret) }}
{{- dict "configMap" $ca.configMap "existingSecret" (ternary "" $secret (not (empty $ca.configMap))) "key" $ca.key | toJson }}
{{- else }}{}
{{- end }}
{{- end }}

{{/* A source of a projected volume with authorities: dict "from" like tls.clientCA "path". */}}
{{- define "cancelot.authorities" -}}
- {{ ternary "configMap" "secret" (not (empty .from.configMap)) }}:
    name: {{ .from.configMap | default .from.existingSecret }}
    items:
      - key: {{ .from.key }}
        path: {{ .path }}
{{- end }}

{{/* Not empty if no connection is made without a client's certificate. */}}
{{- define "cancelot.clientCertNeeded" -}}
{{- if eq (.Values.config.server.tls_client_auth | default "") "required" }}yes{{ end }}
{{- end }}

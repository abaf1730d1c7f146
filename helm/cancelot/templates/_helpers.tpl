{{- define "cancelot.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Shorter than a label's 63 characters by what is appended: "-headless" and a pod's revision hash. */}}
{{- define "cancelot.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "cancelot.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "cancelot.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cancelot.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{/* Of the pods of helm test, which no selector of the service may match. */}}
{{- define "cancelot.testLabels" -}}
app.kubernetes.io/name: {{ include "cancelot.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}

{{- define "cancelot.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "cancelot.labels" -}}
{{ include "cancelot.selectorLabels" . }}
{{ include "cancelot.commonLabels" . }}
{{- end }}

{{- define "cancelot.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "cancelot.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "cancelot.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* The port of config.server.listen. */}}
{{- define "cancelot.port" -}}
{{- .Values.config.server.listen | splitList ":" | last }}
{{- end }}

{{/* The port of config.server.admin_listen; empty if there is none. */}}
{{- define "cancelot.adminPort" -}}
{{- .Values.config.server.admin_listen | default "" | splitList ":" | last }}
{{- end }}

{{/* Where the kubelet asks after health: in the clear, as it can do no TLS. */}}
{{- define "cancelot.probePort" -}}
{{- include "cancelot.adminPort" . | default (include "cancelot.port" .) }}
{{- end }}

{{/*
Seconds from the word to stop to the kill: the sleep before the signal, the drain, and as much again
as the process takes for its last frames and its journal.
*/}}
{{- define "cancelot.gracePeriodSeconds" -}}
{{- $drain := divf .Values.config.server.drain_ms 1000 | ceil | int }}
{{- add .Values.preStopSleepSeconds $drain 10 }}
{{- end }}

{{/* Ports that are reached, as a JSON list: 443, those of URLs in the settings, and the API server's. */}}
{{- define "cancelot.egressPorts" -}}
{{- $urls := list (.Values.config.telemetry | default dict).otlp_endpoint }}
{{- range .Values.config.accounts }}
{{- $urls = concat $urls (list .base_url .proxy_url) }}
{{- end }}
{{- range .Values.config.issuers }}
{{- $urls = append $urls .jwks_url }}
{{- end }}
{{- $ports := list 443 }}
{{- range compact $urls }}
{{- $url := urlParse . }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- $ports = append $ports (int ($port | default (ternary "80" "443" (eq $url.scheme "http")))) }}
{{- end }}
{{- if .Values.kubernetesCallers.enabled }}
{{- range .Values.kubernetesCallers.apiServerPorts }}
{{- $ports = append $ports (int .) }}
{{- end }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}

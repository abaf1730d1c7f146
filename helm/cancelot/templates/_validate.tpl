{{/* What the schema cannot say, or not with its reason. */}}
{{- define "cancelot.validate" -}}
{{- include "cancelot.validate.pod" . }}
{{- include "cancelot.validate.tls" . }}
{{- include "cancelot.validate.access" . }}
{{- include "cancelot.validate.network" . }}
{{- include "cancelot.validate.resources" . }}
{{- end }}

{{/* Names of the variables that are given, such as ",A,B,": those from Secrets as a whole are unknown. */}}
{{- define "cancelot.variables" -}}
,{{ range .Values.extraEnv }}{{ .name }},{{ end }}
{{- end }}

{{/* Who reaches the port of gRPC is said aloud, however open it is. */}}
{{- define "cancelot.validate.network" -}}
{{- $policy := .Values.networkPolicy }}
{{- if and $policy.enabled (not $policy.from) (not $policy.open) }}
{{- fail "networkPolicy.from is empty, and without it every pod that the cluster lets near could call: name the peers that may, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: billing}}}], or set networkPolicy.open to true." }}
{{- end }}
{{- if and $policy.from $policy.open }}
{{- fail "networkPolicy.from names peers, and networkPolicy.open lets everybody call: keep one." }}
{{- end }}
{{- end }}

{{- define "cancelot.validate.pod" -}}
{{- $config := .Values.config }}
{{- if ne (int .Values.replicaCount) 1 }}
{{- fail (printf "replicaCount is %v: give 1. The journal is a store inside one process, so each replica would have keys and cancellations of its own, and a repeated request could take effect twice." .Values.replicaCount) }}
{{- end }}
{{- range $key := list "listen" "admin_listen" }}
{{- with index $config.server $key }}
{{- if or (hasPrefix "127." .) (hasPrefix "[::1]" .) }}
{{- fail (printf "config.server.%s is %s, which nothing outside of the container reaches, probes included: give 0.0.0.0 or [::] with the port." $key .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq (include "cancelot.port" .) (include "cancelot.adminPort" .) }}
{{- fail (printf "config.server.admin_listen has the port of config.server.listen (%s): give another, as metrics and probes are in the clear and ask for no caller." (include "cancelot.port" .)) }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not $config.server.admin_listen) }}
{{- fail "metrics.serviceMonitor is enabled, and there is nothing to scrape: set config.server.admin_listen, such as 0.0.0.0:8081." }}
{{- end }}
{{- range $key, $dir := dict "journal.dir" $config.journal.dir "audit.dir" ($config.audit | default dict).dir }}
{{- if and $dir (not (hasPrefix "/data/" $dir)) }}
{{- fail (printf "config.%s is %s: give a directory below /data, where the volume is. All else is read-only or lost with the pod." $key $dir) }}
{{- end }}
{{- end }}
{{- range $value, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels }}
{{- range $label, $_ := $labels }}
{{- if regexMatch "^(app[.]kubernetes[.]io/(name|instance|component|version|managed-by)|helm[.]sh/chart)$" $label }}
{{- fail (printf "%s sets %s, which is the chart's own: its selectors have to go on matching." $value $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key := list "server.listen" "server.admin_listen" "server.drain_ms" "server.tls_cert_file" "server.tls_key_file" "server.tls_client_ca_file" "server.tls_client_auth" "journal.dir" "journal.cache_bytes" "audit.dir" "server.request_bytes_max" "engine.open_bytes_max" }}
{{- $variable := printf "CANCELOT_%s" ($key | replace "." "_" | upper) }}
{{- if contains (printf ",%s," $variable) (include "cancelot.variables" $) }}
{{- fail (printf "extraEnv sets %s, which the process would follow and its ports, probes, grace period, memory and volume would not: set config.%s instead." $variable $key) }}
{{- end }}
{{- end }}
{{- end }}

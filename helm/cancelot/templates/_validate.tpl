{{/* What the schema cannot say, or not with its reason. */}}
{{- define "cancelot.validate" -}}
{{- $config := .Values.config }}
{{- if ne (int .Values.replicaCount) 1 }}
{{- fail (printf "replicaCount is %v: give 1. The journal is a store inside one process, so each replica would have keys and cancellations of its own, and a repeated request could take effect twice." .Values.replicaCount) }}
{{- end }}
{{- if or (hasPrefix "127." $config.server.listen) (hasPrefix "[::1]" $config.server.listen) }}
{{- fail (printf "config.server.listen is %s, which nothing outside of the container reaches, probes included: give 0.0.0.0 or [::] with the port." $config.server.listen) }}
{{- end }}
{{- if not (hasPrefix "/data/" $config.journal.dir) }}
{{- fail (printf "config.journal.dir is %s: give a directory below /data, where the volume is. All else is read-only or lost with the pod." $config.journal.dir) }}
{{- end }}
{{- range $value, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels }}
{{- range $label, $_ := $labels }}
{{- if regexMatch "^(app[.]kubernetes[.]io/(name|instance|component|version|managed-by)|helm[.]sh/chart)$" $label }}
{{- fail (printf "%s sets %s, which is the chart's own: its selectors have to go on matching." $value $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- $variables := list }}
{{- range .Values.extraEnv }}
{{- $variables = append $variables .name }}
{{- end }}
{{- range $variable, $key := dict "CANCELOT_SERVER_LISTEN" "config.server.listen" "CANCELOT_SERVER_DRAIN_MS" "config.server.drain_ms" "CANCELOT_JOURNAL_DIR" "config.journal.dir" }}
{{- if has $variable $variables }}
{{- fail (printf "extraEnv sets %s, which the pod would follow and its probes, grace period and volume would not: set %s instead." $variable $key) }}
{{- end }}
{{- end }}
{{- $byVariable := or .Values.extraEnvFrom (regexMatch "(^|,)CANCELOT_(CALLERS_|SERVER_INSECURE)" (join "," $variables)) }}
{{- if not (or $config.callers $config.server.insecure $byVariable) }}
{{- fail "no caller is configured, so everybody in the cluster could cancel: add one below config.callers, or set config.server.insecure to true if something in front decides who may call." }}
{{- end }}
{{- range $group, $noun := dict "callers" "token" "accounts" "credential" }}
{{- range $name, $given := index $config $group }}
{{- if not (regexMatch "^[a-z][a-z0-9-]{0,62}$" $name) }}
{{- fail (printf "config.%s.%s is not a legal name: give 1-63 lower-case letters, digits and dashes, beginning with a letter." $group $name) }}
{{- end }}
{{- $inline := printf "CANCELOT_%s_%s_%s" (upper $group) ($name | replace "-" "_" | upper) (upper $noun) }}
{{- $places := list }}
{{- range $place := list "existingSecret" (printf "%s_file" $noun) (printf "%s_env" $noun) }}
{{- if index $given $place }}
{{- $places = append $places $place }}
{{- end }}
{{- end }}
{{- if gt (len $places) 1 }}
{{- fail (printf "config.%s.%s has its %s in several places (%s): keep one." $group $name $noun (join ", " $places)) }}
{{- end }}
{{- $otherProof := and (eq $group "callers") (or $given.jwt_subjects $given.tls_sans) }}
{{- if and (not $places) (not $otherProof) (not (has $inline $variables)) (not $.Values.extraEnvFrom) }}
{{- fail (printf "config.%s.%s has no %s: give existingSecret, the name of a Secret with it." $group $name $noun) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

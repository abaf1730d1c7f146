{{/*
Mebibytes that the settings let the service take, rounded up: `budgets`, the bounds that are counted;
`limit`, with a quarter more for what is not counted and 128 MiB for the rest; `request`, what it takes
at work. The defaults are those of the configuration reference, which CI compares them with.
*/}}
{{- define "cancelot.memory" -}}
{{- $config := .Values.config }}
{{- $receiving := ($config.server | default dict).request_bytes_max | default 268435456 }}
{{- $open := ($config.engine | default dict).open_bytes_max | default 268435456 }}
{{- $cache := ($config.journal | default dict).cache_bytes | default 67108864 }}
{{- $mebi := 1048576.0 }}
{{- /* Dry runs have a quarter more. */ -}}
{{- $held := addf $receiving (mulf $open 1.25) }}
{{- $budgets := divf (addf $held $cache) $mebi }}
{{- dict
  "budgets" (ceil $budgets | int64)
  "limit" (addf (mulf $budgets 1.25) 128 | ceil | int64)
  "request" (addf (divf $held 4 $mebi) (divf $cache $mebi) 128 | ceil | int64)
| toJson }}
{{- end }}

{{/* The container's resources: what follows from the settings, and over that what is given. */}}
{{- define "cancelot.resources" -}}
{{- $given := deepCopy (.Values.resources | default dict) }}
{{- if .Values.deriveResources }}
{{- $memory := include "cancelot.memory" . | fromJson }}
{{- $derived := dict
  "requests" (dict "cpu" "250m" "memory" (printf "%vMi" $memory.request))
  "limits" (dict "memory" (printf "%vMi" $memory.limit))
}}
{{- $limit := include "cancelot.mebibytes" (($given.limits | default dict).memory | default "") }}
{{- if and $limit (not ($given.requests | default dict).memory) (lt (int64 $limit) (int64 $memory.request)) }}
{{- /* A request above its limit is none. */ -}}
{{- $_ := set $derived.requests "memory" $given.limits.memory }}
{{- end }}
{{- toYaml (mergeOverwrite $derived $given) }}
{{- else if $given }}
{{- toYaml $given }}
{{- end }}
{{- end }}

{{/* A quantity of memory in mebibytes; empty if it is written in a way that is not read here. */}}
{{- define "cancelot.mebibytes" -}}
{{- $text := toString . }}
{{- $factors := dict "Mi" 1.0 "Gi" 1024.0 "Ti" 1048576.0 "M" 0.95367431640625 "G" 953.67431640625 }}
{{- if regexMatch "^[0-9]+([.][0-9]+)?(Mi|Gi|Ti|M|G)$" $text }}
{{- $unit := regexFind "[A-Za-z]+$" $text }}
{{- mulf (trimSuffix $unit $text | float64) (get $factors $unit) | floor | int64 }}
{{- end }}
{{- end }}

{{/* A limit below what the settings let the service take is an end in the middle of its work. */}}
{{- define "cancelot.validate.resources" -}}
{{- $memory := include "cancelot.memory" . | fromJson }}
{{- $given := ((.Values.resources | default dict).limits | default dict).memory | default "" }}
{{- $limit := include "cancelot.mebibytes" $given }}
{{- if and $limit (lt (int64 $limit) (add $memory.budgets 128)) }}
{{- fail (printf "resources.limits.memory is %s, and the settings let the service take %vMi, so that it would be killed when it is busiest: give %vMi or more, or lower config.server.request_bytes_max, config.engine.open_bytes_max or config.journal.cache_bytes." $given $memory.budgets (add $memory.budgets 128)) }}
{{- end }}
{{- end }}

{{/* Of the pods of helm test, whose work is one cancellation in a sandbox. */}}
{{- define "cancelot.testResources" -}}
{{- if .Values.deriveResources }}
requests: {cpu: 50m, memory: 64Mi}
limits: {memory: 256Mi}
{{- else }}
{{- with .Values.resources }}
{{- toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Who may call, who vouches for it, and what accounts are reached with. */}}
{{- define "cancelot.validate.access" -}}
{{- $config := .Values.config }}
{{- $variables := include "cancelot.variables" . }}
{{- $byVariable := or .Values.extraEnvFrom (regexMatch ",CANCELOT_(CALLERS_|SERVER_INSECURE,)" $variables) }}
{{- if not (or $config.callers $config.server.insecure $byVariable) }}
{{- fail "no caller is configured, so everybody in the cluster could cancel: add one below config.callers, or set config.server.insecure to true if something in front decides who may call." }}
{{- end }}
{{- range $group := list "issuers" "callers" "accounts" }}
{{- range $name, $_ := index $config $group }}
{{- if not (regexMatch "^[a-z][a-z0-9-]{0,62}$" $name) }}
{{- fail (printf "config.%s.%s is not a legal name: give 1-63 lower-case letters, digits and dashes, beginning with a letter." $group $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $given := $config.issuers }}
{{- if and (eq $name "kubernetes") $.Values.kubernetesCallers.enabled }}
{{- fail "config.issuers.kubernetes is what kubernetesCallers adds: give yours another name, or disable kubernetesCallers." }}
{{- end }}
{{- if eq (empty $given.jwks_file) (empty $given.jwks_url) }}
{{- if not (or $.Values.extraEnvFrom (contains (printf ",CANCELOT_ISSUERS_%s_JWKS_" (include "cancelot.upper" $name)) $variables)) }}
{{- fail (printf "config.issuers.%s has %s: give one, where its public keys are." $name (ternary "neither jwks_file nor jwks_url" "both jwks_file and jwks_url" (empty $given.jwks_url))) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $group, $noun := dict "callers" "token" "accounts" "credential" }}
{{- range $name, $given := index $config $group }}
{{- $key := printf "config.%s.%s" $group $name }}
{{- $places := list }}
{{- range $place := list "existingSecret" (printf "%s_file" $noun) (printf "%s_env" $noun) }}
{{- if index $given $place }}
{{- $places = append $places $place }}
{{- end }}
{{- end }}
{{- if gt (len $places) 1 }}
{{- fail (printf "%s has its %s in several places (%s): keep one." $key $noun (join ", " $places)) }}
{{- end }}
{{- $own := printf ",CANCELOT_%s_%s_" (upper $group) (include "cancelot.upper" $name) }}
{{- $elsewhere := or $.Values.extraEnvFrom (contains (printf "%s%s" $own (upper $noun)) $variables) }}
{{- if eq $group "callers" }}
{{- $elsewhere = or $elsewhere (contains (printf "%sJWT_" $own) $variables) (contains (printf "%sTLS_SANS," $own) $variables) }}
{{- if not (or $places $given.jwt_issuer $given.jwt_subjects $given.tls_sans $elsewhere) }}
{{- fail (printf "%s has nothing that proves it: give existingSecret, the name of a Secret with its token, or jwt_issuer and jwt_subjects, or tls_sans." $key) }}
{{- end }}
{{- else if not (or $places $elsewhere) }}
{{- fail (printf "%s has no %s: give existingSecret, the name of a Secret with it." $key $noun) }}
{{- end }}
{{- end }}
{{- end }}
{{- if not .Values.extraEnvFrom }}
{{- include "cancelot.validate.jwt" . }}
{{- end }}
{{- end }}

{{/* Callers that show JWTs. */}}
{{- define "cancelot.validate.jwt" -}}
{{- $variables := include "cancelot.variables" . }}
{{- range $name, $given := .Values.config.callers }}
{{- $key := printf "config.callers.%s" $name }}
{{- $own := printf ",CANCELOT_CALLERS_%s_JWT_" (include "cancelot.upper" $name) }}
{{- if and (or $given.jwt_subjects $given.jwt_claims) (not $given.jwt_issuer) (not (contains $own $variables)) }}
{{- fail (printf "%s has jwt_subjects or jwt_claims, which mean nothing without an issuer: set jwt_issuer." $key) }}
{{- end }}
{{- with $given.jwt_issuer }}
{{- $known := keys ($.Values.config.issuers | default dict) }}
{{- if $.Values.kubernetesCallers.enabled }}
{{- $known = append $known "kubernetes" }}
{{- end }}
{{- if not (or (has . $known) (contains (printf ",CANCELOT_ISSUERS_%s_" (include "cancelot.upper" .)) $variables)) }}
{{- fail (printf "%s.jwt_issuer is %s, and there is no such issuer: %s." $key . (ternary "enable kubernetesCallers" (printf "add config.issuers.%s" .) (eq . "kubernetes"))) }}
{{- end }}
{{- if not (or $given.jwt_subjects (contains $own $variables)) }}
{{- fail (printf "%s.jwt_issuer would let everybody in to whom %s issues tokens: set jwt_subjects to those of this caller." $key .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A name as it is in variables. */}}
{{- define "cancelot.upper" -}}
{{- . | replace "-" "_" | upper }}
{{- end }}

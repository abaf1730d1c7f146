{{- define "cancelot.validate.tls" -}}
{{- $tls := .Values.tls }}
{{- $server := .Values.config.server }}
{{- if and $tls.existingSecret $tls.certManager.enabled }}
{{- fail "tls.existingSecret names a certificate, and tls.certManager would make another: keep one." }}
{{- end }}
{{- if and $tls.certManager.enabled (not $tls.certManager.issuerRef.name) }}
{{- fail "tls.certManager is enabled, and nobody is named who issues the certificate: set tls.certManager.issuerRef.name, and kind if it is a ClusterIssuer." }}
{{- end }}
{{- if and (include "cancelot.tlsSecret" .) (or $server.tls_cert_file $server.tls_key_file) }}
{{- fail "config.server has tls_cert_file or tls_key_file, and so has the chart by tls.existingSecret or tls.certManager: keep one." }}
{{- end }}
{{- if ne (empty $server.tls_cert_file) (empty $server.tls_key_file) }}
{{- fail "config.server has one of tls_cert_file and tls_key_file: give both, or name a Secret that has them as tls.existingSecret." }}
{{- end }}
{{- if and (include "cancelot.tls" .) (not $server.admin_listen) }}
{{- fail "TLS is on and config.server.admin_listen is not set, so that probes would ask the port of gRPC, and the kubelet can do no TLS: set it, such as 0.0.0.0:8081." }}
{{- end }}
{{- range $value, $place := dict "tls.clientCA" $tls.clientCA "tls.serverCA" $tls.serverCA }}
{{- if and $place.existingSecret $place.configMap }}
{{- fail (printf "%s is in a Secret (%s) and in a ConfigMap (%s): keep one." $value $place.existingSecret $place.configMap) }}
{{- end }}
{{- end }}
{{- $mounted := or $tls.clientCA.existingSecret $tls.clientCA.configMap }}
{{- if and $mounted $server.tls_client_ca_file }}
{{- fail "config.server has tls_client_ca_file, and so has the chart by tls.clientCA: keep one." }}
{{- end }}
{{- $ca := or $mounted $server.tls_client_ca_file }}
{{- if and $ca (not (include "cancelot.tls" .)) }}
{{- fail "tls.clientCA vouches for certificates that no client can show without TLS: set tls.existingSecret or tls.certManager." }}
{{- end }}
{{- $auth := $server.tls_client_auth | default (ternary "optional" "none" (not (empty $ca))) }}
{{- if and (ne $auth "none") (not $ca) }}
{{- fail (printf "config.server.tls_client_auth is %s, and nobody vouches for clients' certificates: set tls.clientCA.existingSecret or tls.clientCA.configMap." $auth) }}
{{- end }}
{{- if and .Values.tests.clientCertSecret (eq $auth "none") }}
{{- fail "tests.clientCertSecret is a certificate that the service does not ask for: set tls.clientCA, or leave it away." }}
{{- end }}
{{- range $name, $caller := .Values.config.callers }}
{{- if and $caller.tls_sans (eq $auth "none") }}
{{- fail (printf "config.callers.%s has tls_sans, and the service asks for no certificates: set tls.clientCA%s." $name (ternary ", and config.server.tls_client_auth to optional or required" "" (not (empty $ca)))) }}
{{- end }}
{{- end }}
{{- if not (or (include "cancelot.tls" .) $tls.allowPlaintext) }}
{{- fail "TLS is off, so tokens and requests could be read on the way: set tls.existingSecret or tls.certManager, or tls.allowPlaintext to true if something in between encrypts, such as a mesh." }}
{{- end }}
{{- end }}

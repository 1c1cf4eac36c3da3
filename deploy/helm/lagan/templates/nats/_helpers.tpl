{{- define "lagan.nats.name" -}}
{{ include "lagan.fullname" . }}-nats
{{- end }}

{{- define "lagan.nats.url" -}}
{{- if .Values.nats.embedded.enabled -}}
{{ ternary "tls" "nats" (not (empty .Values.nats.embedded.tls.secretName)) }}://{{ include "lagan.nats.name" . }}.{{ .Release.Namespace }}.svc:4222
{{- else -}}
{{ required "nats.url is required if nats.embedded.enabled is false" .Values.nats.url }}
{{- end }}
{{- end }}

{{/* Address of the monitoring page, which shows whether each write is synced; may be empty. Always plain HTTP. */}}
{{- define "lagan.nats.monitoringUrl" -}}
{{- if .Values.nats.embedded.enabled -}}
http://{{ include "lagan.nats.name" . }}-headless.{{ .Release.Namespace }}.svc:8222
{{- else -}}
{{ .Values.nats.monitoringUrl }}
{{- end }}
{{- end }}

{{/* Empty if JetStream is in the domain of the server itself. */}}
{{- define "lagan.nats.domain" -}}
{{- if and .Values.nats.domain .Values.nats.embedded.enabled }}
{{- fail "nats.domain is for an external server: the embedded one has no JetStream domain" }}
{{- end -}}
{{ .Values.nats.domain }}
{{- end }}

{{/* The users of the embedded server as JSON: name, key of the login in the Secret, variable of the password. */}}
{{- define "lagan.nats.users" -}}
{{- $keys := .Values.nats.userSecret }}
{{- $users := list (dict "name" "engine" "key" $keys.engineKey "role" "engine" "pool" "") (dict "name" "cli" "key" "cli" "role" "cli" "pool" "") (dict "name" "subscriber" "key" "subscriber" "role" "subscriber" "pool" "") }}
{{- range $pool := keys .Values.workers.pools | sortAlpha }}
{{- $users = append $users (dict "name" (printf "worker-%s" $pool) "key" ($keys.workerKey | replace "{pool}" $pool) "role" "worker" "pool" $pool) }}
{{- end }}
{{- toJson $users }}
{{- end }}

{{/* Name of the variable that holds the password of a user of the embedded server. */}}
{{- define "lagan.nats.variable" -}}
PASSWORD_{{ . | upper | replace "-" "_" }}
{{- end }}

{{/* The Secret with the logins of the embedded server. */}}
{{- define "lagan.nats.userSecret" -}}
{{- if .Values.nats.tokenSecret.name }}
{{- fail "nats.tokenSecret is for an external server: the embedded one has a user for each role and pool (nats.userSecret)" }}
{{- end }}
{{- default (printf "%s-users" (include "lagan.nats.name" .)) .Values.nats.userSecret.name }}
{{- end }}

{{/* The permissions of a role, from the rules of deploy/nats. Takes {root, role, pool}. */}}
{{- define "lagan.nats.permissions" -}}
{{- $pools := keys .root.Values.workers.pools | sortAlpha }}
{{- $pool := .pool }}
{{- $rules := list }}
{{- if not (.root.Files.Get (printf "files/nats/%s.conf.in" .role)) }}
{{- fail (printf "the chart has no files/nats/%s.conf.in, without which its user could do everything: package it with its links followed" .role) }}
{{- end }}
{{- range $line := .root.Files.Lines (printf "files/nats/%s.conf.in" .role) }}
{{- $line = $line | replace "@CLUSTER@" $.root.Values.cluster | replace "@POOL@" $pool }}
{{- $of := contains "@ANYPOOL@" $line | ternary $pools (contains "@OTHERPOOL@" $line | ternary (without $pools $pool) (list "")) }}
{{- range $other := $of }}
{{- range $lane := contains "@LANE@" $line | ternary (list "urgent" "normal" "maintenance") (list "") }}
{{- $rules = append $rules ($line | replace "@ANYPOOL@" $other | replace "@OTHERPOOL@" $other | replace "@LANE@" $lane) }}
{{- end }}
{{- end }}
{{- end }}
{{- join "\n" $rules }}
{{- end }}

{{/* The login of a component as {secret, key, file, flag}; empty if there is none. Takes {root, component, pool?}. NATS ties
each pool's user to the facts and lanes of the pool, so a pod gets the login of its own pool only. */}}
{{- define "lagan.nats.auth" -}}
{{- $nats := .root.Values.nats }}
{{- $own := printf "%sKey" .component }}
{{- if and $nats.credsSecret.name $nats.userSecret.name }}
{{- fail "set only one of nats.credsSecret and nats.userSecret" }}
{{- end }}
{{- $secret := $nats.embedded.enabled | ternary (include "lagan.nats.name" .root | printf "%s-users") "" }}
{{- $secret = default $secret $nats.userSecret.name }}
{{- if $nats.credsSecret.name }}
{{- dict "secret" $nats.credsSecret.name "key" (get $nats.credsSecret $own | replace "{pool}" (default "" .pool)) "file" "user.creds" "flag" "--nats-creds" | toYaml }}
{{- else if $secret }}
{{- dict "secret" $secret "key" (get $nats.userSecret $own | replace "{pool}" (default "" .pool)) "file" "user" "flag" "--nats-user-file" | toYaml }}
{{- else if $nats.tokenSecret.name }}
{{- dict "secret" $nats.tokenSecret.name "key" $nats.tokenSecret.key "file" "token" "flag" "--nats-token-file" | toYaml }}
{{- end }}
{{- end }}

{{/* Empty if the server's certificate is checked against the system's authorities. */}}
{{- define "lagan.nats.caSecret" -}}
{{- if .Values.nats.caSecret.name -}}
{{ .Values.nats.caSecret.name }}
{{- else if .Values.nats.embedded.enabled -}}
{{ .Values.nats.embedded.tls.secretName }}
{{- end }}
{{- end }}

{{- define "lagan.nats.tls" -}}
tls {
  cert_file: /etc/nats-tls/tls.crt
  key_file: /etc/nats-tls/tls.key
  ca_file: /etc/nats-tls/ca.crt
}
{{- end }}

{{- define "lagan.nats.config" -}}
{{- $embedded := .Values.nats.embedded }}
{{- $name := include "lagan.nats.name" . -}}
server_name: $POD_NAME
listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
pid_file: /tmp/nats.pid
lame_duck_duration: 30s
lame_duck_grace_period: 5s
# The rules of each user are those of deploy/nats.
authorization {
  users: [
    {{- range include "lagan.nats.users" . | fromJsonArray }}
    {user: {{ .name }}, password: ${{ include "lagan.nats.variable" .name }}, permissions: {include "{{ .name }}.conf"}}
    {{- end }}
  ]
}
{{- if $embedded.tls.secretName }}
{{ include "lagan.nats.tls" . }}
{{- end }}
jetstream {
  store_dir: /data
  max_file_store: {{ $embedded.jetstream.maxFileStore }}
  max_memory_store: {{ $embedded.jetstream.maxMemoryStore }}
  # By default the server syncs every two minutes, and a power cut loses acknowledged messages or whole streams.
  sync_interval: always
}
{{- if gt (int $embedded.replicas) 1 }}
cluster {
  name: {{ $name }}
  listen: "0.0.0.0:6222"
  authorization { user: route, password: $PASSWORD_ROUTE }
  {{- if $embedded.tls.secretName }}
  {{- include "lagan.nats.tls" . | nindent 2 }}
  {{- end }}
  routes: $NATS_ROUTES
}
{{- end }}
{{- end }}

{{/* Expanded in the pod's environment, because the URL of a route contains its password. */}}
{{- define "lagan.nats.routes" -}}
{{- $name := include "lagan.nats.name" . }}
{{- $routes := list }}
{{- range until (int .Values.nats.embedded.replicas) }}
{{- $routes = append $routes (printf "nats://route:$(PASSWORD_ROUTE)@%s-%d.%s-headless.%s.svc:6222" $name . $name $.Release.Namespace) }}
{{- end }}
{{- toJson $routes }}
{{- end }}

{{- define "lagan.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Limited in length, because "-worker-" and a pool's name are appended. */}}
{{- define "lagan.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 32 | trimSuffix "-" }}
{{- else if contains (include "lagan.name" .) .Release.Name }}
{{- .Release.Name | trunc 32 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "lagan.name" .) | trunc 32 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Takes {root, component, pool?}. Selectors are immutable, so nothing here may depend on a version. */}}
{{- define "lagan.selector" -}}
app.kubernetes.io/name: {{ include "lagan.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .pool }}
lagan.dev/pool: {{ . }}
{{- end }}
{{- end }}

{{- define "lagan.labels" -}}
{{ include "lagan.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: lagan
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Takes an image block with a tag or digest. */}}
{{- define "lagan.image" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end }}

{{/* Takes {root, component, account}. */}}
{{- define "lagan.serviceAccountName" -}}
{{- if .account.create }}
{{- default (printf "%s-%s" (include "lagan.fullname" .root) .component) .account.name }}
{{- else }}
{{- default "default" .account.name }}
{{- end }}
{{- end }}

{{- define "lagan.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
# Changing the owner of all files of a large repository at each start would take hours.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "lagan.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Takes {root, component, pool?, constraints}. */}}
{{- define "lagan.spread" -}}
{{- if .constraints }}
{{- toYaml .constraints }}
{{- else -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "lagan.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* The container of engine and workers. Takes {root, component, args, resources, extraEnv, mounts}. */}}
{{- define "lagan.container" -}}
{{- $values := .root.Values -}}
{{- $auth := include "lagan.nats.auth" . | fromYaml -}}
name: {{ .component }}
image: {{ include "lagan.image" (merge (dict "tag" (default .root.Chart.AppVersion $values.image.tag)) $values.image) | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args:
  - {{ .component }}
  - --kube
  - --cluster={{ $values.cluster }}
  {{- range .args }}
  - {{ . | quote }}
  {{- end }}
  - --listen=0.0.0.0:9090
  - --nats-url={{ include "lagan.nats.url" .root }}
  - --nats-replicas={{ .root.Values.nats.embedded.enabled | ternary .root.Values.nats.embedded.replicas .root.Values.nats.streamReplicas }}
  {{- with include "lagan.nats.monitoringUrl" .root }}
  - --nats-monitoring-url={{ . }}
  {{- end }}
  {{- with include "lagan.nats.domain" .root }}
  - --nats-domain={{ . }}
  {{- end }}
  {{- with $auth }}
  - {{ .flag }}=/etc/lagan/nats/{{ .file }}
  {{- end }}
  {{- if include "lagan.nats.caSecret" .root }}
  - --nats-ca=/etc/lagan/nats-ca/ca.crt
  {{- end }}
  {{- range .extraArgs }}
  - {{ . | quote }}
  {{- end }}
env:
  # Only /tmp is writable.
  - {name: HOME, value: /tmp}
  - {name: XDG_STATE_HOME, value: /tmp}
  {{- with .extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - {name: metrics, containerPort: 9090}
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
resources:
  {{- toYaml .resources | nindent 2 }}
securityContext:
  {{- include "lagan.securityContext" . | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if $auth }}
  - {name: nats, mountPath: /etc/lagan/nats, readOnly: true}
  {{- end }}
  {{- if include "lagan.nats.caSecret" .root }}
  - {name: nats-ca, mountPath: /etc/lagan/nats-ca, readOnly: true}
  {{- end }}
  {{- with .mounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Takes {root, component, volumes}. A pod gets only the login of its own role. */}}
{{- define "lagan.volumes" -}}
- name: tmp
  emptyDir: {}
{{- with include "lagan.nats.auth" . | fromYaml }}
- name: nats
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items:
      - {key: {{ .key }}, path: {{ .file }}}
{{- end }}
{{- if include "lagan.nats.caSecret" .root }}
- name: nats-ca
  secret:
    secretName: {{ include "lagan.nats.caSecret" .root }}
    items:
      - {key: {{ ternary "ca.crt" .root.Values.nats.caSecret.key (empty .root.Values.nats.caSecret.name) }}, path: ca.crt}
{{- end }}
{{- with .volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The parts of a pod that engine and workers share. Takes {root, component, pool?, constraints, scheduling}. */}}
{{- define "lagan.scheduling" -}}
# Kubernetes' variables for a Service named lagan-* would be read as settings.
enableServiceLinks: false
securityContext:
  {{- include "lagan.podSecurityContext" . | nindent 2 }}
topologySpreadConstraints:
  {{- include "lagan.spread" . | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with get $.scheduling $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Port of a URL, else the given default. Takes {url, default}. */}}
{{- define "lagan.port" -}}
{{- $port := regexFind ":[0-9]+$" (urlParse .url).host }}
{{- default .default (trimPrefix ":" $port) }}
{{- end }}

{{/* Rules of each component for namespaced objects; what is cluster-scoped is below. */}}
{{- define "lagan.rules.engine" -}}
{{- range include "lagan.groups" . | fromYamlArray }}
- apiGroups: [{{ . }}]
  # Blueprints make repositories and configurations; wipeOut holds a finalizer.
  resources: [repositories]
  verbs: [get, list, watch, create, patch]
- apiGroups: [{{ . }}]
  resources: [backupconfigurations]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [{{ . }}]
  # Sessions of schedules are made, and deleted past the history limit.
  resources: [backupsessions]
  verbs: [get, list, watch, create, delete]
- apiGroups: [{{ . }}]
  # Labels that KubeDB looks for; recorded before a restore may begin.
  resources: [restoresessions]
  verbs: [get, list, watch, patch]
- apiGroups: [{{ . }}]
  resources: [repositories/status, backupconfigurations/status, backupsessions/status, restoresessions/status]
  verbs: [patch]
{{- end }}
- apiGroups: [appcatalog.appscode.com]
  resources: [appbindings]
  verbs: [get, list, watch]
# Only whether they exist: the engine asks for metadata.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- define "lagan.rules.engine.cluster" -}}
{{- range include "lagan.groups" . | fromYamlArray }}
- apiGroups: [{{ . }}]
  resources: [backupblueprints, tasks, functions]
  verbs: [get, list, watch]
- apiGroups: [{{ . }}]
  resources: [backupblueprints/status]
  verbs: [patch]
{{- end }}
{{- if .Values.stashCompat }}
# Whether a Stash operator runs: then its objects are left to it.
- apiGroups: [apiregistration.k8s.io]
  resources: [apiservices]
  resourceNames: [v1beta1.admission.stash.appscode.com]
  verbs: [get]
{{- end }}
{{- end }}

{{- define "lagan.rules.worker" -}}
{{- range include "lagan.groups" . | fromYamlArray }}
# The source of intent is asked again before anything is overwritten or deleted, and for what hooks hold.
- apiGroups: [{{ . }}]
  resources: [repositories, backupconfigurations, backupsessions, restoresessions]
  verbs: [get]
{{- end }}
- apiGroups: [appcatalog.appscode.com]
  resources: [appbindings]
  verbs: [get]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# Where hooks go.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [""]
  resources: [services]
  verbs: [get]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list]
{{- if .Values.workers.hooks.exec }}
- apiGroups: [""]
  resources: [pods/exec]
  # A WebSocket begins with a GET, which is `get`; newer API servers ask for `create` as well.
  verbs: [get, create]
{{- end }}
{{- end }}

{{/* API groups whose objects are served, as a YAML list. */}}
{{- define "lagan.groups" -}}
- lagan.dev
{{- if .Values.stashCompat }}
- stash.appscode.com
{{- end }}
{{- end }}

{{/* A role and its binding. Takes {root, component, account, namespace?, name, rules}; without a namespace for all. */}}
{{- define "lagan.role" -}}
{{- $kind := empty .namespace | ternary "ClusterRole" "Role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "lagan.labels" . | nindent 4 }}
rules:
  {{- .rules | trim | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "lagan.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "lagan.serviceAccountName" . }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}

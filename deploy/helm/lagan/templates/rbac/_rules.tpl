{{/* Rules of the engine for namespaced objects. */}}
{{- define "lagan.rules.engine" -}}
{{- range include "lagan.groups" . | fromYamlArray }}
- apiGroups: [{{ . }}]
  # Create and patch: blueprints create Repositories, and wipeOut sets a finalizer.
  resources: [repositories]
  verbs: [get, list, watch, create, patch]
- apiGroups: [{{ . }}]
  resources: [backupconfigurations]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [{{ . }}]
  # Create and delete: sessions of schedules, up to the history limit.
  resources: [backupsessions]
  verbs: [get, list, watch, create, delete]
- apiGroups: [{{ . }}]
  # Patch: labels for KubeDB, and the record that precedes a restore.
  resources: [restoresessions]
  verbs: [get, list, watch, patch]
- apiGroups: [{{ . }}]
  resources: [repositories/status, backupconfigurations/status, backupsessions/status, restoresessions/status]
  verbs: [patch]
{{- end }}
- apiGroups: [appcatalog.appscode.com]
  resources: [appbindings]
  verbs: [get, list, watch]
# The engine reads metadata only, to see whether a Secret exists.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# The annotations of a Service of another namespace, to see whether it consents to hooks.
- apiGroups: [""]
  resources: [services]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* The uid of this namespace identifies the cluster, and its annotations list the identities that it adopted. */}}
{{- define "lagan.rules.identity" }}
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
{{- end }}

{{- define "lagan.rules.worker.cluster" -}}
{{- /* Not in the namespaced rules: a Role goes with its namespace, so nobody could say that this is gone. */}}
# Labels of a namespace that another one consents to, and whether the namespace of a snapshot still exists.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# A worker compares the program of a plan with its Function.
- apiGroups: [lagan.dev]
  resources: [functions]
  verbs: [get]
{{- range include "lagan.groups" . | fromYamlArray }}
# An AppBinding that names a blueprint consents to backups from the blueprint's namespace.
- apiGroups: [{{ . }}]
  resources: [backupblueprints]
  verbs: [get]
{{- end }}
{{- end }}

{{- define "lagan.rules.engine.cluster" -}}
{{- include "lagan.rules.identity" . }}
{{- range include "lagan.groups" . | fromYamlArray }}
- apiGroups: [{{ . }}]
  resources: [backupblueprints, tasks, functions]
  verbs: [get, list, watch]
- apiGroups: [{{ . }}]
  resources: [backupblueprints/status]
  verbs: [patch]
{{- end }}
{{- if .Values.stashCompat }}
# Shows whether a Stash operator runs, to which its objects are left.
- apiGroups: [apiregistration.k8s.io]
  resources: [apiservices]
  resourceNames: [v1beta1.admission.stash.appscode.com]
  verbs: [get]
{{- end }}
{{- end }}

{{- define "lagan.rules.worker" -}}
{{- range include "lagan.groups" . | fromYamlArray }}
# Workers read objects before they overwrite or delete data, and for the content of hooks.
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
# Pods and Services that hooks connect to.
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
  # A WebSocket starts with a GET request, which needs `get`; newer API servers require `create` too.
  verbs: [get, create]
{{- end }}
{{- end }}

{{/* API groups whose objects are handled, as a YAML list. */}}
{{- define "lagan.groups" -}}
- lagan.dev
{{- if .Values.stashCompat }}
- stash.appscode.com
{{- end }}
{{- end }}

{{/* A role and its binding, cluster-wide without a namespace. Takes {root, component, account, namespace?, name, rules}. */}}
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

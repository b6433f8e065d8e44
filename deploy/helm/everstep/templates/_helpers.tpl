{{- define "everstep.name" -}}
{{- if contains "everstep" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-everstep{{ end }}
{{- end }}

{{- define "everstep.labels" -}}
app.kubernetes.io/name: everstep
{{- if ne (include "everstep.name" .) "everstep" }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
{{- end }}

{{- define "everstep.workerLabels" -}}
{{ include "everstep.labels" . }}
app.kubernetes.io/component: worker
{{- end }}

{{- define "everstep.codecLabels" -}}
{{ include "everstep.labels" . }}
app.kubernetes.io/component: codec-server
{{- end }}

{{- define "everstep.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "everstep.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "everstep.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* A key of the Secret with keys, as an environment variable: (dict "root" . "name" VARIABLE "key" KEY "optional" bool) */}}
{{- define "everstep.key" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.keysSecret | quote }}
      key: {{ .key }}
      {{- if .optional }}
      optional: true
      {{- end }}
{{- end }}

{{/* What KEDA asks to know how many workers of a queue are needed: (dict "root" . "worker" merged "versioned" bool) */}}
{{- define "everstep.scaling" -}}
{{- $scaling := .root.Values.scaling -}}
{{- $build := "" -}}
{{- if .versioned }}{{ $build = `,temporal_io_build_id="{{temporal_worker_build_id}}"` }}{{ end -}}
minReplicaCount: {{ .worker.minReplicas | default $scaling.minReplicas }}
maxReplicaCount: {{ .worker.maxReplicas | default $scaling.maxReplicas }}
pollingInterval: 15
cooldownPeriod: 600
fallback:
  failureThreshold: 3
  replicas: {{ .worker.minReplicas | default $scaling.minReplicas }}
  behavior: currentReplicasIfHigher
advanced:
  horizontalPodAutoscalerConfig:
    behavior:
      scaleUp:
        stabilizationWindowSeconds: 0
      scaleDown:
        stabilizationWindowSeconds: 600
        policies:
          - type: Pods
            value: 1
            periodSeconds: 120
triggers:
  - type: temporal
    name: backlog
    metadata:
      endpoint: {{ .root.Values.temporal.address | quote }}
      {{- with .root.Values.settings.TEMPORAL_TLS_SERVER_NAME }}
      tlsServerName: {{ . | quote }}
      {{- end }}
      {{- if .versioned }}
      namespace: ""
      workerDeploymentName: ""
      workerDeploymentBuildId: ""
      {{- else }}
      namespace: {{ .root.Values.temporal.namespace | quote }}
      {{- end }}
      taskQueue: {{ .worker.taskQueue | quote }}
      queueTypes: workflow,activity
      targetQueueSize: {{ $scaling.waitingTasksPerWorker | quote }}
    {{- if or .root.Values.temporal.tlsSecret .root.Values.temporal.apiKey }}
    authenticationRef:
      name: {{ include "everstep.name" .root }}-temporal
    {{- end }}
  - type: prometheus
    name: busy
    metadata:
      serverAddress: {{ $scaling.prometheus }}
      query: {{ printf `sum(temporal_worker_task_slots_used{worker_type="ActivityWorker",namespace="%s",task_queue="%s"%s})` .root.Values.temporal.namespace .worker.taskQueue $build | squote }}
      threshold: {{ round (mulf $scaling.busySlots .worker.maxConcurrentSteps) 2 | quote }}
      ignoreNullValues: "false"
{{- end }}

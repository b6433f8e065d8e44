{{/* The pods of one task queue: (dict "root" . "name" NAME "worker" merged) */}}
{{- define "everstep.workerPod" -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- include "everstep.workerLabels" .root | nindent 4 }}
    everstep/worker: {{ .name | quote }}
  annotations:
    checksum/settings: {{ include "everstep.settings" .root | sha256sum }}
spec:
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  serviceAccountName: {{ include "everstep.name" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add $values.gracefulShutdown 30 }}
  securityContext:
    {{- include "everstep.podSecurity" .root | nindent 4 }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "everstep.workerLabels" $.root | nindent 10 }}
          everstep/worker: {{ $.name | quote }}
    {{- end }}
  {{- with .worker.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .worker.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: worker
      image: {{ include "everstep.image" .root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      command: [everstep, worker]
      envFrom:
        - configMapRef:
            name: {{ include "everstep.name" .root }}-settings
      env:
        - name: TEMPORAL_TASK_QUEUE
          value: {{ .worker.taskQueue | quote }}
        - name: EVERSTEP_MAX_CONCURRENT_STEPS
          value: {{ .worker.maxConcurrentSteps | quote }}
        {{- include "everstep.key" (dict "root" .root "name" "OPENAI_API_KEY" "key" "openai-api-key" "optional" true) | nindent 8 }}
        {{- include "everstep.key" (dict "root" .root "name" "QDRANT_API_KEY" "key" "qdrant-api-key" "optional" true) | nindent 8 }}
        {{- with .worker.flows }}
        - name: EVERSTEP_FLOWS
          value: {{ . | quote }}
        {{- end }}
        {{- if $values.temporal.apiKey }}
        {{- include "everstep.key" (dict "root" .root "name" "TEMPORAL_API_KEY" "key" "temporal-api-key") | nindent 8 }}
        {{- end }}
        {{- with .worker.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: health
          containerPort: 8080
        - name: metrics
          containerPort: 9464
      startupProbe:
        httpGet:
          path: /livez
          port: health
        periodSeconds: 2
        failureThreshold: 60
      readinessProbe:
        httpGet:
          path: /readyz
          port: health
        periodSeconds: 5
        timeoutSeconds: 3
      livenessProbe:
        httpGet:
          path: /livez
          port: health
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      resources:
        {{- toYaml .worker.resources | nindent 8 }}
      securityContext:
        {{- include "everstep.containerSecurity" .root | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        - name: data
          mountPath: /var/lib/everstep
        {{- if $values.temporal.tlsSecret }}
        - name: temporal-tls
          mountPath: /run/secrets/temporal
          readOnly: true
        {{- end }}
        {{- if $values.encryptionSecret }}
        - name: encryption-keys
          mountPath: /run/secrets/everstep
          readOnly: true
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 1Gi
    - name: data
      {{- if .worker.dataClaim }}
      persistentVolumeClaim:
        claimName: {{ .worker.dataClaim | quote }}
      {{- else }}
      emptyDir:
        sizeLimit: 2Gi
      {{- end }}
    {{- with $values.temporal.tlsSecret }}
    - name: temporal-tls
      secret:
        secretName: {{ . | quote }}
        defaultMode: 288
    {{- end }}
    {{- with $values.encryptionSecret }}
    - name: encryption-keys
      secret:
        secretName: {{ . | quote }}
        defaultMode: 288
    {{- end }}
{{- end }}

{{/* The entry of one task queue, with what `general` of values.yaml says where it is silent. */}}
{{- define "everstep.worker" -}}
{{- $fallback := dict "flows" "" "maxConcurrentSteps" 100 "replicas" 1 "env" (list) "nodeSelector" (dict) "tolerations" (list) "dataClaim" ""
    "resources" (dict "requests" (dict "cpu" "250m" "memory" "512Mi") "limits" (dict "memory" "1Gi")) -}}
{{- mergeOverwrite $fallback . | toYaml -}}
{{- end }}

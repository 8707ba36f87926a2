{{- define "pushrail.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "pushrail.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "pushrail.labels" -}}
app.kubernetes.io/name: pushrail
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "pushrail.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "pushrail.name" .) -}}
{{- end -}}

{{/* The settings file: what all services share, then what the operator added. */}}
{{- define "pushrail.settings" -}}
{{- $shared := dict
  "kafka" (dict "bootstrap" (required "kafka.bootstrap is required" .Values.kafka.bootstrap) "properties" .Values.kafka.properties)
  "registry" (dict "url" (required "registry.url is required" .Values.registry.url))
  "log" (dict "format" .Values.observability.logFormat "filter" .Values.observability.log)
  "trace" (dict "ratio" .Values.observability.traceRatio)
  "egress" (dict "allow_networks" .Values.egress.allowNetworks "allow_plaintext" .Values.egress.allowPlaintext)
-}}
{{- if not .Values.kafka.properties }}{{ $_ := unset $shared.kafka "properties" }}{{ end -}}
{{- if not .Values.egress.allowNetworks }}{{ $_ := unset $shared.egress "allow_networks" }}{{ end -}}
{{- if .Values.registry.user }}{{ $_ := set $shared.registry "user" .Values.registry.user }}{{ end -}}
{{- if .Values.observability.otlpEndpoint }}{{ $_ := set $shared "otlp" (dict "endpoint" .Values.observability.otlpEndpoint) }}{{ end -}}
{{- mergeOverwrite $shared (deepCopy .Values.settings) | toToml -}}
{{- end -}}

{{/* Variables and mounts of a container. Takes root, and needs: which of keyRing, databaseUrl, adminKey and identity it gets. */}}
{{- define "pushrail.env" -}}
- name: PUSHRAIL_CONFIG
  value: /etc/pushrail/pushrail.toml
{{- $needs := .needs | default list }}
{{- if has "keyRing" $needs }}
- name: PUSHRAIL_KEY_RING_FILE
  value: /etc/pushrail-secrets/{{ .root.Values.secrets.keyRingKey }}
{{- end }}
{{- if has "databaseUrl" $needs }}
- name: PUSHRAIL_DATABASE_URL_FILE
  value: /etc/pushrail-secrets/{{ .root.Values.secrets.databaseUrlKey }}
{{- end }}
{{- if has "adminKey" $needs }}
- name: PUSHRAIL_ADMIN_KEY_FILE
  value: /etc/pushrail-secrets/{{ .root.Values.secrets.adminKeyKey }}
{{- end }}
{{- if and (has "identity" $needs) .root.Values.secrets.identityKey }}
- name: PUSHRAIL_IDENTITY_ISSUER
  value: {{ required "identity.issuer is required with secrets.identityKey" .root.Values.identity.issuer | quote }}
- name: PUSHRAIL_IDENTITY_KEY_FILE
  value: /etc/pushrail-secrets/{{ .root.Values.secrets.identityKey }}
{{- end }}
{{- with .root.Values.secrets.registryPasswordKey }}
- name: PUSHRAIL_REGISTRY_PASSWORD_FILE
  value: /etc/pushrail-secrets/{{ . }}
{{- end }}
{{- with .root.Values.secrets.kafkaPropertiesKey }}
- name: PUSHRAIL_KAFKA_PROPERTIES_FILE
  value: /etc/pushrail-secrets/{{ . }}
{{- end }}
{{- end -}}

{{/* Keys of the Secret that a container may read, as a list. */}}
{{- define "pushrail.secretKeys" -}}
{{- $secrets := .root.Values.secrets -}}
{{- $keys := compact (list $secrets.registryPasswordKey $secrets.kafkaPropertiesKey) -}}
{{- range .needs }}{{ $keys = append $keys (get $secrets (printf "%sKey" .)) }}{{ end -}}
{{- toJson (compact $keys) -}}
{{- end -}}

{{- define "pushrail.mounts" -}}
- name: settings
  mountPath: /etc/pushrail
  readOnly: true
{{- if include "pushrail.secretKeys" . | fromJsonArray }}
- name: secrets
  mountPath: /etc/pushrail-secrets
  readOnly: true
{{- end }}
{{- end -}}

{{- define "pushrail.volumes" -}}
- name: settings
  configMap:
    name: {{ include "pushrail.name" .root }}
{{- with include "pushrail.secretKeys" . | fromJsonArray }}
- name: secrets
  secret:
    secretName: {{ $.root.Values.secrets.existingSecret }}
    defaultMode: 0440
    items:
      {{- range . }}
      - { key: {{ . | quote }}, path: {{ . | quote }} }
      {{- end }}
{{- end }}
{{- end -}}

{{- define "pushrail.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* How many copies the cluster keeps, as flags in a list. */}}
{{- define "pushrail.replicationArgs" -}}
{{- $args := list "--replication-factor" (toString (int .Values.topology.replicationFactor))
  "--min-insync-replicas" (toString (int .Values.topology.minInsyncReplicas)) -}}
{{- range $topic, $count := .Values.topology.partitions }}
{{- $args = concat $args (list "--partitions" (printf "%s=%d" $topic (int $count))) }}
{{- end }}
{{- toJson $args -}}
{{- end -}}

{{/* One service's deployment. Takes root, component, service (its values), args, ports, lifecycle, needs. */}}
{{- define "pushrail.deployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "pushrail.name" $root }}-{{ .component }}
  labels:
    {{- include "pushrail.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  replicas: {{ .service.replicas }}
  # One at a time: each move of partitions drains first and repeats nothing.
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels:
      app.kubernetes.io/instance: {{ $root.Release.Name }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata:
      labels:
        {{- include "pushrail.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
      annotations:
        checksum/settings: {{ include "pushrail.settings" $root | sha256sum }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "pushrail.serviceAccount" $root }}
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: {{ .service.terminationGracePeriodSeconds }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        fsGroup: 10001
        seccompProfile:
          type: RuntimeDefault
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              app.kubernetes.io/instance: {{ $root.Release.Name }}
              app.kubernetes.io/component: {{ .component }}
      containers:
        - name: {{ .component }}
          image: {{ include "pushrail.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: {{ toJson .args }}
          env:
            {{- include "pushrail.env" . | nindent 12 }}
          ports:
            - name: ops
              containerPort: 9090
            {{- with .ports }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- with .lifecycle }}
          lifecycle:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          startupProbe:
            httpGet: { path: /livez, port: ops }
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: { path: /livez, port: ops }
            periodSeconds: 10
            failureThreshold: 3
          readinessProbe:
            httpGet: { path: /readyz, port: ops }
            periodSeconds: 5
            failureThreshold: 2
          resources:
            {{- toYaml .service.resources | nindent 12 }}
          securityContext:
            {{- include "pushrail.securityContext" $root | nindent 12 }}
          volumeMounts:
            {{- include "pushrail.mounts" . | nindent 12 }}
      volumes:
        {{- include "pushrail.volumes" . | nindent 8 }}
      {{- with $root.Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "pushrail.name" $root }}-{{ .component }}
  labels:
    {{- include "pushrail.labels" $root | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app.kubernetes.io/instance: {{ $root.Release.Name }}
      app.kubernetes.io/component: {{ .component }}
{{- end -}}

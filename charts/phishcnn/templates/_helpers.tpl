{{- define "phishcnn.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Never the chart's version: selectors cannot change. */}}
{{- define "phishcnn.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "phishcnn.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "phishcnn.selector" . }}
{{- end -}}

{{- define "phishcnn.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "phishcnn.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The port at the end of HOST:PORT. */}}
{{- define "phishcnn.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{- define "phishcnn.feedbackClaim" -}}
{{- default (printf "%s-feedback" (include "phishcnn.fullname" .)) .Values.feedbackVolume.claim -}}
{{- end -}}

{{/* Stable and canary differ in these. */}}
{{- define "phishcnn.tracks" -}}
{{- $fullname := include "phishcnn.fullname" . -}}
{{- $stable := dict "track" "stable" "name" $fullname "replicas" .Values.replicas "version" .Values.version "digest" .Values.image.digest "file" .Values.model.file "sha256" .Values.model.sha256 -}}
{{- $tracks := list $stable -}}
{{- with .Values.canary -}}
{{- if .enabled -}}
{{- $file := default $.Values.model.file .model.file -}}
{{- $sha256 := ternary .model.sha256 (default $.Values.model.sha256 .model.sha256) (ne .model.file "") -}}
{{- $version := default $.Values.version .version -}}
{{- $digest := ternary .imageDigest (default $.Values.image.digest .imageDigest) (ne .version "") -}}
{{- $tracks = append $tracks (dict "track" "canary" "name" (printf "%s-canary" $fullname) "replicas" .replicas "version" $version "digest" $digest "file" $file "sha256" $sha256) -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "tracks" $tracks) -}}
{{- end -}}

{{/* The environment of a track, but for what comes from a Secret. The role renders the same. */}}
{{- define "phishcnn.environment" -}}
{{- $environment := dict -}}
{{- range $key, $value := .Values.settings -}}
{{- $text := ternary $value (toJson $value) (kindIs "string" $value) -}}
{{- $_ := set $environment (printf "PHISHCNN_%s" (upper $key)) $text -}}
{{- end -}}
{{- if .track.file -}}
{{- $_ := set $environment "PHISHCNN_MODEL" (printf "/var/lib/phishcnn/models/%s" .track.file) -}}
{{- end -}}
{{- if .Values.model.shadow -}}
{{- $_ := set $environment "PHISHCNN_SHADOW" (printf "/var/lib/phishcnn/models/%s" .Values.model.shadow) -}}
{{- end -}}
{{- if eq .Values.feedback.store "none" -}}
{{- $_ := set $environment "PHISHCNN_FEEDBACK" "none" -}}
{{- else if eq .Values.feedback.store "sqlite" -}}
{{- $_ := set $environment "PHISHCNN_FEEDBACK" "/var/lib/phishcnn/feedback/feedback.sqlite" -}}
{{- end -}}
{{- if .Values.security.api_keys -}}
{{- $_ := set $environment "PHISHCNN_API_KEYS_FILE" "/etc/phishcnn/keys/api-keys" -}}
{{- end -}}
{{- if .Values.security.tls -}}
{{- $_ := set $environment "PHISHCNN_TLS_CERT" "/etc/phishcnn/tls/tls.crt" -}}
{{- $_ := set $environment "PHISHCNN_TLS_KEY" "/etc/phishcnn/tls/tls.key" -}}
{{- end -}}
{{- toYaml $environment -}}
{{- end -}}

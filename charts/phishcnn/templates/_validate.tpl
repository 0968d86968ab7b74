{{/* What the schema cannot say: comparisons of two values. Each message says what to change. */}}
{{- define "phishcnn.validate" -}}
{{- $v := .Values -}}
{{- $files := or $v.model.file $v.model.shadow (and $v.canary.enabled $v.canary.model.file) -}}
{{- $volumes := ternary 1 0 (ne $v.modelVolume.configMap "") | add (ternary 1 0 (ne $v.modelVolume.claim "")) | int -}}
{{- if and $files (ne $volumes 1) -}}
{{- fail "model.file, model.shadow or canary.model.file is set: name one of modelVolume.configMap and modelVolume.claim, which holds the file" -}}
{{- end -}}
{{- if eq (include "phishcnn.port" $v.settings.listen) (include "phishcnn.port" $v.settings.admin_listen) -}}
{{- fail "settings.listen and settings.admin_listen have the same port: metrics and the change of the model need one of their own" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.min) (int $v.autoscaling.max)) -}}
{{- fail "autoscaling.min is greater than autoscaling.max" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (eq 0 (int $v.autoscaling.cpu)) (eq 0 (int $v.autoscaling.requestsPerSecond)) -}}
{{- fail "autoscaling.enabled: set autoscaling.cpu or autoscaling.requestsPerSecond, else nothing says when to scale" -}}
{{- end -}}
{{- if and $v.canary.enabled (not (or $v.canary.version $v.canary.imageDigest $v.canary.model.file)) -}}
{{- fail "canary.enabled: set canary.version, canary.imageDigest or canary.model.file, else the canary equals the stable version" -}}
{{- end -}}
{{- end -}}

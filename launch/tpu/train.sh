#!/usr/bin/env bash
# Google Cloud: a TPU VM of a single host (such as v5litepod-8), with a checkout in
# ~/jaxfer. The same command continues a run that was stopped.
#   TPU=my-vm ZONE=europe-west4-a bash launch/tpu/train.sh --config cfnet_rafdb.py
set -euo pipefail
: "${TPU:?name the TPU VM}" "${ZONE:?name its zone}"
train="cd jaxfer && EXTRAS=tpu bash launch/single/train.sh $(printf '%q ' "$@")"
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=0 --command "$train"

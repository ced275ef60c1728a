#!/usr/bin/env bash
# Google Cloud: a TPU slice of one host or several, one process a host, each with a
# checkout in ~/jaxfer. The same command continues a run that was stopped. On several
# hosts --workdir must lie on a disk that they share; the data can too, by
# --config.data.dir, or is prepared on each.
#   TPU=my-vm ZONE=europe-west4-a bash launch/tpu/train.sh --config cfnet_rafdb.py
set -euo pipefail
: "${TPU:?name the TPU VM}" "${ZONE:?name its zone}"
words=$(printf '%q ' "$@" --coordinator=auto)
train="cd jaxfer && EXTRAS=tpu bash launch/single/train.sh $words"
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all --command "$train"

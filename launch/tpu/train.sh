#!/usr/bin/env bash
# A TPU slice on Google Cloud: run the same command on every host.
#   TPU=my-slice ZONE=europe-west4-a bash launch/tpu/train.sh --config cfnet_rafdb.py
set -euo pipefail
: "${TPU:?name the slice}" "${ZONE:?name its zone}"
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all --command \
  "cd jaxfer && .venv/bin/pip install -q '.[tpu]' && .venv/bin/python -m jaxfer.launch --distributed $(printf '%q ' "$@")"

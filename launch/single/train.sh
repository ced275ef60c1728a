#!/usr/bin/env bash
# Set up if need be, then train on this machine; by default the quickstart.
#   bash launch/single/train.sh [--config NAME] [--config.FIELD=VALUE ...]
set -euo pipefail
here=$(dirname "$0")
bash "$here/setup.sh"
[ $# -gt 0 ] || set -- --config quickstart.py
exec "$here/../../.venv/bin/python" -m jaxfer.launch "$@"

#!/usr/bin/env bash
# Make .venv with jaxfer and the tools that EXTRAS names, once.
# EXTRAS: of pyproject.toml, e.g. EXTRAS=test,cuda12; by default those that .venv
# was made with, or test.
# PYTHON names the interpreter, if python3 is not 3.11 or newer.
set -euo pipefail
cd "$(dirname "$0")/../.."

made=.venv/.jaxfer-setup
extras=${EXTRAS:-$(cut -sd' ' -f3 "$made" 2>/dev/null || true)}
extras=${extras:-test}
if [[ ,$extras, != *,cuda12,* ]] && command -v nvidia-smi >/dev/null; then
  echo "note: this machine has an NVIDIA GPU; EXTRAS=$extras,cuda12 uses it" >&2
fi
stamp="$(cat pyproject.toml constraints.txt | cksum) $extras"
if [ "$(cat "$made" 2>/dev/null || true)" != "$stamp" ]; then
  for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    python=
  done
  if [ -z "$python" ]; then
    echo "error: needs Python 3.11 or newer; name one with PYTHON=..." >&2
    exit 2
  fi
  echo "setting up .venv with $("$python" --version); this takes a minute" >&2
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable ".[$extras]" >&2
  echo "$stamp" > "$made"
fi

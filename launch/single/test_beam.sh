#!/usr/bin/env bash
# Set up .venv-beam if need be, then prepare a small data set by Apache Beam and
# compare it with what the threads leave. Apache Beam does not install beside
# constraints.txt; docs/affectnet_on_a_cluster.md has more.
# PYTHON names the interpreter, if python3 is not 3.11 or newer.
set -euo pipefail
cd "$(dirname "$0")/../.."

bin=.venv-beam/bin
made=.venv-beam/.jaxfer-setup
stamp="$(cat pyproject.toml "$0" | cksum)"
if [ "$(cat "$made" 2>/dev/null || true)" != "$stamp" ]; then
  [ -x $bin/python ] || "${PYTHON:-python3}" -m venv .venv-beam
  $bin/python -m pip install --quiet --disable-pip-version-check \
    apache-beam==2.77.0 tensorflow-datasets array_record opencv-python-headless \
    importlib_resources tqdm "pytest>=8.3" >&2
  $bin/python -m pip install --quiet --disable-pip-version-check \
    --no-deps --editable . >&2
  echo "$stamp" > "$made"
fi
# tests/conftest.py is of JAX, which is not installed here; and the warnings are of what
# Apache Beam keeps old.
exec $bin/python -m pytest -W ignore --confcutdir tests/data \
  tests/data/beam_direct.py "$@"

#!/usr/bin/env bash
# Set up if need be, then lint, check types and imports, and run every test.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash launch/single/setup.sh
bin=.venv/bin
$bin/ruff check .
$bin/ruff format --check .
$bin/mypy
$bin/lint-imports
exec $bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"

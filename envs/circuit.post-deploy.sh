#!/usr/bin/env bash
# Run by Snakemake from the project's folder, in the environment it made from circuit.yaml.
set -euo pipefail
python -m pip install --quiet --no-deps --editable .

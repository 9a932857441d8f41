#!/usr/bin/env bash
# Write envs/requirements.lock, envs/test.lock and envs/circuit.yaml from the ranges in pyproject.toml.
#
#   make lock                newest versions in range; torch stays where it is
#   make lock TORCH=2.14.0   and this torch
#
# torch is moved by hand only: it is by far the largest, and it decides the numbers.
set -euo pipefail
cd "$(dirname "$0")"

python=${PYTHON:-python3}
torch=${TORCH:-$(sed -n 's/^torch==//p' requirements.lock)}

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"$python" -m venv "$fresh/venv"
pip=("$fresh/venv/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install --quiet "torch==$torch"

# Dropped: the build tag of torch ("+cpu", "+cu126") and the libraries of its accelerator builds,
# since the same lock serves machines with and without one and pip fetches what torch asks for.
installed() {
    "${pip[@]}" freeze --exclude-editable --exclude setuptools --exclude wheel >"$fresh/frozen"
    if grep -E ' @ |://' "$fresh/frozen" >&2; then
        echo "lock: these come from no index, so nobody else could install them" >&2
        exit 1
    fi
    sed -E -e '/^(nvidia-|cuda-|triton==)/d' -e 's/^(torch==[^+]*)\+.*/\1/' "$fresh/frozen"
}

# What a study needs is decided without the tools, which then may add to it and change nothing.
"${pip[@]}" install --quiet --editable ..
installed >"$fresh/run"
"${pip[@]}" install --quiet --constraint "$fresh/frozen" --editable "..[dev,slurm]"
installed >"$fresh/all"

{
    echo "# Exact versions of everything a study needs, written by \`make lock\`; edit the ranges in pyproject.toml."
    cat "$fresh/run"
} >requirements.lock
{
    echo "# What checks and tests need beyond it, written by \`make lock\`."
    echo "--requirement requirements.lock"
    grep --invert-match --line-regexp --fixed-strings --file "$fresh/run" "$fresh/all"
} >test.lock

# Snakemake makes the environment from a copy of this file elsewhere and names it by a digest of
# its text. So it names the versions itself, rather than point to the lock.
{
    echo "# The environment of \`snakemake --sdm conda\`, written by \`make lock\`."
    echo "channels:"
    echo "  - conda-forge"
    echo "  - nodefaults"
    echo "dependencies:"
    echo "  - python =$("$fresh/venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    echo "  - pip"
    echo "  - pip:"
    sed 's/^/      - /' "$fresh/run"
} >circuit.yaml

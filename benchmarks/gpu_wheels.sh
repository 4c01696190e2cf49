#!/usr/bin/env bash
# bash benchmarks/gpu_wheels.sh [FOLDER]
#
# Download the wheels that a bare machine with a GPU lacks, for Python 3.12 on Linux (x86-64), into an ignored folder
# (gpu_wheels). `python -m benchmarks.gpu` unpacks from there what is not installed, so that it runs from a plain copy
# of the source tree and that folder, without a network. What would make the folder larger than 60 MB is left out, and
# the checks that need it are skipped with that reason.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-gpu_wheels}
most=$((60 * 1000 * 1000))
# In the order of their importance, each with what it needs and such a machine lacks, too.
packages=(
    soundfile cffi pycparser
    datasets dill multiprocess
    evaluate
    jsonargparse docstring-parser typeshed-client importlib-resources
    higher
    torchcodec
    bitsandbytes
)
platforms=()
for version in 2_28 2_27 2_24 2_17 2_12 2_5; do
    platforms+=(--platform "manylinux_${version}_x86_64")
done
platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)

mkdir -p "$folder"
rm -f "$folder"/*.whl
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
for package in "${packages[@]}"; do
    if ! "${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version 3.12 --implementation cp "${platforms[@]}" \
        --constraint constraints.txt --dest "$temporary" "$package"; then
        echo "left out: $package (no wheel of the pinned version)"
        continue
    fi
    wheel=$(find "$temporary" -name '*.whl')
    size=$(stat -c %s "$wheel")
    total=$(find "$folder" -name '*.whl' -printf '%s\n' | awk '{sum += $1} END {print sum + 0}')
    if ((total + size > most)); then
        echo "left out: $package ($((size / 1000000)) MB would make more than 60 MB)"
        rm "$wheel"
    else
        mv "$wheel" "$folder"
    fi
done
du -sh "$folder"

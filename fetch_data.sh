#!/bin/sh
# Puts Fashion-MNIST's four files into the folder $1: from Debian's package dataset-fashion-mnist where apt is present
# (unpacked, not installed, so without root), else by torchvision's download. Marks a whole folder with .ready.
set -eu
folder=$1
mkdir -p "$folder"
target=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

from_debian() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    cd "$work"
    if ! apt-get -q download dataset-fashion-mnist >log 2>&1; then
        # an image without package lists: fetch them, which only root may do
        [ "$(id -u)" = 0 ] && apt-get -q update >>log 2>&1 && apt-get -q download dataset-fashion-mnist >>log 2>&1 || return 1
    fi
    dpkg-deb -x dataset-fashion-mnist_*.deb unpacked
    mv unpacked/usr/share/datasets/fashion-mnist/*.gz "$target/"
}

if [ -d /usr/share/datasets/fashion-mnist ]; then
    echo "Fashion-MNIST: Debian's package is installed, nothing to fetch"
elif (from_debian); then
    echo "Fashion-MNIST: unpacked from Debian's package into $folder"
else
    echo "Fashion-MNIST: downloading through torchvision into $folder"
    .venv/bin/python -c "from torchvision.datasets import FashionMNIST; FashionMNIST('$folder', download=True)" || {
        echo "Fashion-MNIST could not be fetched; 'make smoke' and dataset=digits work without it" >&2
        exit 1
    }
fi
touch "$folder/.ready"

#!/usr/bin/env bash
# From a fresh clone to a trained network, its validation table and an image to look at. Safe to run again.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

activate_environment
install_plugin .
link_basicsr

say "What is installed"
python -m liif_basicsr doctor

say "Photographs to train on and to validate with"
python -m liif_basicsr prepare quickstart

say "Training, about five minutes on two CPU cores"
python basicsr/train.py -opt options/train_liif_quickstart.yml

say "An image to look at"
python scripts/figures.py sheet --image datasets/quickstart/val/coffee.png --scale 4 --out quickstart.png \
    --model experiments/train_liif_quickstart/models/net_g_latest.pth

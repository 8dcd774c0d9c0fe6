#!/usr/bin/env bash
# Install the plugin in a fresh clone, train a small network, and write an example image. Safe to run again.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

activate_environment
install_plugin .
link_basicsr

say "Installed versions"
python -m liif_basicsr doctor

say "Photographs for training and validation"
python -m liif_basicsr prepare quickstart

say "Training, about five minutes on two CPU cores"
python basicsr/train.py -opt options/train_liif_quickstart.yml

say "Example image"
python scripts/figures.py sheet --image datasets/quickstart/val/coffee.png --scale 4 --out quickstart.png \
    --model experiments/train_liif_quickstart/models/net_g_latest.pth

"""Makes data sets on disk from images: the work of scripts/prepare_data.py."""

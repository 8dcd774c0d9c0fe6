"""The plugin's metrics, one per file."""

"""The commands as click declares them: options and their help. No module here imports torch."""

"""``python -m landscape`` is the command line."""

from landscape_cli.main import main

main(prog_name="landscape")

"""``python -m kptalk``."""

from kptalk.cli import main

main()

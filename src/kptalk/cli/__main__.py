"""``python -m kptalk.cli``."""

from kptalk.cli import main

main()

"""`python -m idjax.cli` is `idjax`."""

from idjax.cli.app import main

main()

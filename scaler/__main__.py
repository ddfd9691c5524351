"""`python -m scaler`: the command `foresail`."""

from scaler.cli import main

main()

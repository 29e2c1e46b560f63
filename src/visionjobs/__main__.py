"""`python -m visionjobs`: where the command is not on the PATH, as on a Ray cluster that the code travelled to."""

from visionjobs.cli.app import main

main()

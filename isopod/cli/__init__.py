"""The ``isopod`` command. ``parser`` reads the arguments, and each subcommand has a file of its own."""

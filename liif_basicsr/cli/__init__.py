"""Commands of the command line, one per module. The command line finds them by scanning this folder.

The command of `hello_world.py` is `hello-world`. The first line of the module's docstring is the command's help text.
`ORDER` sorts the list of commands; commands without it come last. A module defines `add_arguments(parser)` and
`run(args)`; if it parses its arguments itself, it defines `launch(argv)` instead. `run` and `launch` return the exit
status. Import PyTorch and other slow packages inside `run`, so that the help and messages about typos appear at once.
Modules whose names start with an underscore contain code that commands share.
"""

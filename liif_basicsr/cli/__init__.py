"""Commands, one per module. The command line finds them by scanning this folder.

The first line of a module's docstring is the command's help, and `ORDER` its place in the list. A module defines
`add_arguments(parser)` and `run(args) -> exit status`; or `launch(argv) -> exit status` if it parses the arguments
itself. Import PyTorch and other slow packages inside of `run`, so that `--help` and typos are answered at once. Modules
whose name starts with an underscore are shared by commands.
"""

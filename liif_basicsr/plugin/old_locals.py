"""Gives `exec` and `locals` their meaning of before Python 3.13 in functions called `get_version`, and nowhere else.

BasicSR's setup.py reads its version as people used to: `exec(...)` in a function, then `locals()['__version__']`.
Since PEP 667 (Python 3.13) the second does not see what the first assigned, and BasicSR 1.4.2 does not build. While
it is built, and only then, a copy of this file is the `sitecustomize` of the processes that build it; see
`install_basicsr`.
"""
import builtins
import sys

OLD = "get_version"
OPTIMIZED = 1  # inspect.CO_OPTIMIZED: the code of a function, of which locals() gives a copy since Python 3.13

_exec = builtins.exec
_assigned: dict = {}  # frame of a `get_version` -> what `exec` assigned in it


def old_exec(source, globals=None, locals=None, /, **closure):
    """`exec`; without namespaces, in a function called `get_version`, it keeps what is assigned for `locals`."""
    frame = sys._getframe(1)
    if globals is None:
        globals = frame.f_globals
        if locals is None:
            locals = _names(frame)
            if frame.f_code.co_name == OLD:
                _assigned[frame] = locals
    _exec(source, globals, locals, **closure)


def old_locals():
    """`locals`; in a function called `get_version` with what `exec` assigned there."""
    frame = sys._getframe(1)
    return {**_names(frame), **_assigned.pop(frame, {})} if frame in _assigned else _names(frame)


def _names(frame):
    copied = sys.version_info >= (3, 13) and frame.f_code.co_flags & OPTIMIZED
    return dict(frame.f_locals) if copied else frame.f_locals


builtins.exec, builtins.locals = old_exec, old_locals

"""Restore the behavior that `exec` and `locals` had before Python 3.13, but only in functions named `get_version`.

BasicSR's setup.py reads its version in a function that calls `exec(...)` and then `locals()['__version__']`. Since
Python 3.13 (PEP 667), `locals` does not contain the names that `exec` assigned, so BasicSR 1.4.2 cannot be built.
`install_basicsr` copies this file as `sitecustomize` for the processes that build BasicSR. No other process uses it.
"""
import builtins
import sys

OLD = "get_version"
OPTIMIZED = 1  # inspect.CO_OPTIMIZED, set for functions, whose locals() is a copy since Python 3.13

_exec = builtins.exec
_assigned: dict = {}  # frame of a `get_version` -> names that `exec` assigned in it


def old_exec(source, globals=None, locals=None, /, **closure):
    """Run `exec`. If `get_version` calls it without namespaces, keep the assigned names for `old_locals`."""
    frame = sys._getframe(1)
    if globals is None:
        globals = frame.f_globals
        if locals is None:
            locals = _names(frame)
            if frame.f_code.co_name == OLD:
                _assigned[frame] = locals
    _exec(source, globals, locals, **closure)


def old_locals():
    """Return what `locals` returns. In `get_version`, add the names that `exec` assigned there."""
    frame = sys._getframe(1)
    return {**_names(frame), **_assigned.pop(frame, {})} if frame in _assigned else _names(frame)


def _names(frame):
    copied = sys.version_info >= (3, 13) and frame.f_code.co_flags & OPTIMIZED
    return dict(frame.f_locals) if copied else frame.f_locals


builtins.exec, builtins.locals = old_exec, old_locals

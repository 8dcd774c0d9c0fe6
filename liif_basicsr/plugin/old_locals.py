"""Restore the behavior of `exec` and `locals` before Python 3.13, in functions named `get_version` only.

BasicSR's setup.py reads its version by calling `exec(...)` in a function and then `locals()['__version__']`. Since
PEP 667 (Python 3.13), `locals` does not see names that `exec` assigned, and BasicSR 1.4.2 does not build.
`install_basicsr` copies this file as `sitecustomize` for the processes that build BasicSR, and for no others.
"""
import builtins
import sys

OLD = "get_version"
OPTIMIZED = 1  # inspect.CO_OPTIMIZED, set for functions, whose locals() is a copy since Python 3.13

_exec = builtins.exec
_assigned: dict = {}  # frame of a `get_version` -> names that `exec` assigned in it


def old_exec(source, globals=None, locals=None, /, **closure):
    """Run `exec`. Without explicit namespaces in `get_version`, keep the assigned names for `locals`."""
    frame = sys._getframe(1)
    if globals is None:
        globals = frame.f_globals
        if locals is None:
            locals = _names(frame)
            if frame.f_code.co_name == OLD:
                _assigned[frame] = locals
    _exec(source, globals, locals, **closure)


def old_locals():
    """Return `locals`, in `get_version` including the names that `exec` assigned there."""
    frame = sys._getframe(1)
    return {**_names(frame), **_assigned.pop(frame, {})} if frame in _assigned else _names(frame)


def _names(frame):
    copied = sys.version_info >= (3, 13) and frame.f_code.co_flags & OPTIMIZED
    return dict(frame.f_locals) if copied else frame.f_locals


builtins.exec, builtins.locals = old_exec, old_locals

"""How BasicSR finds the package: the start-up hook, the registry of names, errors in one line."""

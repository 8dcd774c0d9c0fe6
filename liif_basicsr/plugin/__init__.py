"""Registration in BasicSR: the start-up hook, the registries, installing BasicSR."""

"""Registration in BasicSR: the start-up hook, the registries, and the installation of BasicSR."""

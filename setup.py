"""Ships what Python runs at its start beside the package; all else is in setup.cfg."""
from setuptools import Distribution, setup  # first: it provides distutils where Python no longer does

from distutils.command.install_data import install_data  # isort: skip


class InstallBesidePackage(install_data):
    """Installs `data_files` into site-packages itself, where Python reads `.pth` and `.start` files.

    A wheel and an editable wheel both run this command, so both record the files and pip removes them.
    """

    def finalize_options(self):
        self.set_undefined_options("install", ("install_lib", "install_dir"))
        super().finalize_options()


class WithData(Distribution):
    """An editable wheel installs data files where the distribution `has_data`; setuptools never says so."""

    def has_data(self):
        return self.has_data_files()


setup(
    distclass=WithData,
    cmdclass={"install_data": InstallBesidePackage},
    data_files=[("", ["liif_basicsr-startup.pth", "liif_basicsr-startup.start", "_liif_basicsr_startup.py"])],
)

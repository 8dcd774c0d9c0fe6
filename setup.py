"""Install the files that Python runs when it starts, next to the package. Everything else is in setup.cfg."""
from setuptools import Distribution, setup  # first, because newer Pythons get distutils from it

from distutils.command.install_data import install_data  # isort: skip


class InstallBesidePackage(install_data):
    """Installs `data_files` into site-packages itself, where Python reads `.pth` and `.start` files.

    Normal and editable wheels both run this command. Both therefore list the files, so that pip can uninstall them.
    """

    def finalize_options(self):
        self.set_undefined_options("install", ("install_lib", "install_dir"))
        super().finalize_options()


class WithData(Distribution):
    """Distribution whose editable wheels contain `data_files`.

    setuptools adds them if the distribution has a method `has_data`, but its own class has none.
    """

    def has_data(self):
        return self.has_data_files()


setup(
    distclass=WithData,
    cmdclass={"install_data": InstallBesidePackage},
    data_files=[("", ["liif_basicsr-startup.pth", "liif_basicsr-startup.start", "_liif_basicsr_startup.py"])],
)

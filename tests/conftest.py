"""What several test files need."""
from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("liif", deadline=None, max_examples=25)
settings.load_profile("liif")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the benchmark images and the official checkpoint; LIIF_SHARED_DATA names it."""
    folder = os.environ.get("LIIF_SHARED_DATA")
    if not folder:
        pytest.skip("LIIF_SHARED_DATA does not name the folder with the benchmark images")
    return Path(folder)

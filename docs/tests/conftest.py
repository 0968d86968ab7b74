import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))


@pytest.fixture(scope="session")
def binary() -> Path:
    path = Path(os.environ.get("PHISHCNN_BINARY", ROOT / "target/release/phishcnn"))
    assert path.exists(), f"{path} is not built: make binary"
    return path

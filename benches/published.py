"""The published architecture to measure: f32, and int8 for its time alone (ranges from made-up URLs, so that its
scores mean little): ../.venv/bin/python published.py MODEL.safetensors FOLDER
"""

import sys
from pathlib import Path

from phishcnn_train.export import encode, read
from phishcnn_train.quantize import quantised

sys.path.append(str(Path(__file__).parent / "python"))
from urls import urls  # noqa: E402

source, folder = map(Path, sys.argv[1:])
tensors, metadata = read(source)
(folder / "published.safetensors").write_bytes(encode(tensors, metadata))
int8, _, _ = quantised(tensors, metadata, [url.encode() for url in urls(300)])
(folder / "published-int8.safetensors").write_bytes(encode(int8, metadata))

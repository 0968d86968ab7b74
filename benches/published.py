"""The published architecture in int8, for its time alone: ranges from made-up URLs, so its scores mean little.

../.venv/bin/python published.py models/keras.safetensors models/keras-int8.safetensors
"""

import sys
from pathlib import Path

from phishcnn_train.export import encode, read
from phishcnn_train.quantize import quantised

sys.path.append(str(Path(__file__).parent / "python"))
from urls import urls  # noqa: E402

source, target = map(Path, sys.argv[1:])
tensors, metadata = read(source)
int8, _, _ = quantised(tensors, metadata, [url.encode() for url in urls(300)])
target.write_bytes(encode(int8, metadata))

"""What both peers do with a URL: ids from the wheel's own tokenizer, the logit from ONNX Runtime.

Every shortcut is taken that an operator could take: one thread a process, no Python loop, the
session's options as its documentation has them for small models.
"""

import os

import networks
import numpy as np
import onnxruntime
import phishcnn

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["ONNX_MODEL"], options)
threshold = float(os.environ["PHISHING_LOGIT"])
trigram_rows = int(os.environ["TRIGRAM_ROWS"])


def logit(url):
    """The network's logit of one URL."""
    tokens = phishcnn.tokenize_batch([url])
    ids, parts = (a.astype(np.int64)[None] for a in (tokens.ids, tokens.parts))
    return session.run(None, networks.feed(trigram_rows, ids, parts))[0][0, 0]


def predict(urls):
    """The Python system's answer: 1 for phishing, else 0."""
    return [int(logit(url) >= threshold) for url in urls]

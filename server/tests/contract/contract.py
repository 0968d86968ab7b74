"""The service keeps to its OpenAPI document, and Prometheus' own reader reads its metrics.

python contract.py PHISHCNN
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

HERE = pathlib.Path(__file__).parent


def start(binary, folder):
    """The service on a free port, and its address."""
    command = [binary, "serve", "--listen", "127.0.0.1:0", "--feedback", f"{folder}/f.sqlite"]
    settings = {k: v for k, v in os.environ.items() if not k.startswith("PHISHCNN_")}
    service = subprocess.Popen(command, env=settings, stderr=subprocess.PIPE, text=True)
    line = service.stderr.readline()
    return service, line.rsplit(" on ", 1)[1].strip()


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        service, address = start(binary, folder)
        try:
            tool = pathlib.Path(sys.executable).parent / "schemathesis"
            options = "--checks all --max-examples 30 --generation-deterministic --no-color"
            status = subprocess.run(
                [tool, "run", f"{address}/openapi.json", *options.split()],
                cwd=folder,
                env=os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)},
            ).returncode
            text = urllib.request.urlopen(f"{address}/metrics").read().decode()
            kinds = {family.name: family.type for family in text_string_to_metric_families(text)}
        finally:
            service.terminate()
            service.communicate()
    wanted = {
        "feedback_received": "counter",
        "model_performance": "gauge",
        "url_length": "histogram",
        "prediction_time": "summary",
    }
    assert wanted.items() <= kinds.items(), kinds
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""Flask peer, as the Python system had it; gunicorn with threaded workers keeps connections alive."""

import peer
from flask import Flask, request

app = Flask(__name__)


@app.post("/predict")
def predict():
    return {"prediction": peer.predict(request.get_json()["data"])}

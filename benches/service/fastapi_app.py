"""FastAPI peer: uvicorn with its C parts, no access log."""

import peer
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Request(BaseModel):
    data: list[str]


class Answer(BaseModel):
    prediction: list[int]


# Inline: handing tens of microseconds to a thread pool would cost more than it gives.
@app.post("/predict")
async def predict(request: Request) -> Answer:
    return Answer(prediction=peer.predict(request.data))

"""Teaches schemathesis the media type of streams: the text of a body is sent as it is."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.deserializer("application/x-ndjson")
def text(_context, response):
    return response.content.decode()

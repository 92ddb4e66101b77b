"""Two applications that call a monitored function at each request: `asgi` and `wsgi`.

Telemetry goes to the folder that the variable TELEMETRY names. After each call that has
ended, a byte is appended to the file `done` there.
"""

import os

import codoperf_otel as co

folder = os.environ["TELEMETRY"]
co.configure("served", file=folder)
done = os.open(f"{folder}/done", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@co.monitor_performance("request")
def work():
    pass


def handle():
    work()
    os.write(done, b".")
    return str(os.getpid()).encode()


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
        return
    body = handle()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    body = handle()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

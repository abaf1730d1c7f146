"""What a Python client of Cancelot is made of; copy it.

Three things are worth having: a channel with Cancelot's service config, `follow`, which brings a
request to its end over whatever happens to the connection, and readers for error details.

The modules of `cancelot.v1` are generated:

    cancelot proto > cancelot/v1/cancelot.proto
    python -m grpc_tools.protoc --proto_path=. --python_out=. --grpc_python_out=. \\
        cancelot/v1/cancelot.proto
"""

import time

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cancelot.v1 import cancelot_pb2

# What says nothing about the request: the connection broke, or the service restarts. The key makes
# it safe to send the request again.
BROKEN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}


def connect(target, service_config, credentials=None):
    """A channel to Cancelot. `service_config` is what `cancelot proto --service-config` prints.

    With `target` as `dns:///name:port` of a headless service, calls go to all its addresses.
    """
    options = [
        ("grpc.service_config", service_config),
        # A batch can be silent for as long as a provider is away. Pings find a dead connection.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # The default, 4 MiB, is enough for every message, so it is not raised.
    ]
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)


def follow(call, request, *, timeout=None, metadata=None, tries=20):
    """Sends a request of one of the two cancelling RPCs and yields `(progress, result)` until all
    items have settled.

    Each item's outcome comes once, though the request is sent again whenever the connection breaks
    or the service restarts; that replays what has settled and joins what still runs. Enrollments
    also come while they are drained, with OUTCOME_UNSPECIFIED.

    `timeout` bounds the wait, in seconds. When it passes, DEADLINE_EXCEEDED is raised and the work
    goes on: call `follow` with the same request again, now or tomorrow. `tries` bounds how often
    nothing new came in a row.
    """
    ends = None if timeout is None else time.monotonic() + timeout
    settled = set()
    vain = 0
    while True:
        left = None if ends is None else max(0.0, ends - time.monotonic())
        try:
            for response in call(request, timeout=left, metadata=metadata):
                for result in response.results:
                    if result.index in settled:
                        continue
                    if result.outcome != cancelot_pb2.OUTCOME_UNSPECIFIED:
                        settled.add(result.index)
                        vain = 0
                    yield response.progress, result
            return
        except grpc.RpcError as error:
            wait = retry_delay(error)
            if wait is None and error.code() in BROKEN:
                wait = min(5.0, 0.1 * 2**vain)
            vain += 1
            if wait is None or vain > tries:
                raise
            if ends is not None:
                wait = min(wait, max(0.0, ends - time.monotonic()))
            time.sleep(wait)


def details(error, kind):
    """The details of a status that are of this kind, such as `error_details_pb2.BadRequest`."""
    status = rpc_status.from_call(error)
    found = []
    for packed in status.details if status else ():
        detail = kind()
        if packed.Unpack(detail):
            found.append(detail)
    return found


def violations(error):
    """What is wrong with a request, by field: of INVALID_ARGUMENT."""
    return {
        violation.field: violation.description
        for detail in details(error, error_details_pb2.BadRequest)
        for violation in detail.field_violations
    }


def conflicts(error):
    """What differs from the first use of a key, by key: of FAILED_PRECONDITION."""
    return {
        violation.subject: violation.description
        for detail in details(error, error_details_pb2.PreconditionFailure)
        for violation in detail.violations
    }


def retry_delay(error):
    """Seconds after which the service wants to be asked again, if it says so."""
    for detail in details(error, error_details_pb2.RetryInfo):
        return detail.retry_delay.ToTimedelta().total_seconds()
    return None

"""Cancelot as a Python client meets it. Usage: check.py BINARY SERVICE_CONFIG"""

import json
import pathlib
import signal
import sys
import tempfile
import urllib.request

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

import served
from cancelot.v1 import cancelot_pb2 as pb
from cancelot.v1 import cancelot_pb2_grpc
from cancelot_client import conflicts, connect, follow, violations

BINARY, SERVICE_CONFIG = sys.argv[1], pathlib.Path(sys.argv[2]).read_text()
SERVICE = "cancelot.v1.CancellationService"
NOW = pb.When(now=pb.When.Now())
PERIOD_END = pb.When(period_end=pb.When.PeriodEnd())


def ok(what):
    print(f"ok: {what}", flush=True)


def batch(key, account, count, when=NOW, **more):
    """A request of `count` subscriptions."""
    items = [
        pb.SubscriptionCancellation(account=account, subscription_id=str(10_000 + i), when=when)
        for i in range(count)
    ]
    return pb.CancelSubscriptionRequest(idempotency_key=key, cancellations=items, **more)


def refused(code, call):
    """The error of a call that has to be refused with this code."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error
    raise AssertionError(f"not refused with {code}")


def accounts(stub):
    found = stub.ListAccounts(pb.ListAccountsRequest()).accounts
    assert {account.name for account in found} == {
        "rebilly", "solidgate", "funnelfox", "revolv3", "sequenzy",
    }, found
    ok("accounts are listed")


def progress_of_a_batch(stub):
    request = pb.CancelSubscriptionRequest(idempotency_key="py-mixed")
    for i in range(600):
        account = ("rebilly", "solidgate", "revolv3")[i % 3]
        request.cancellations.add(account=account, subscription_id=str(20_000 + i), when=NOW)
    settled, last, messages = [], 0, 0
    for response in stub.CancelSubscription(request):
        messages += 1
        settled += [result.index for result in response.results]
        assert response.progress.total == 600
        assert response.progress.settled == len(settled) >= last
        assert sum(count.count for count in response.progress.outcomes) == len(settled)
        assert all(result.outcome == pb.OUTCOME_CANCELED and result.is_final for result in response.results)
        last = response.progress.settled
    assert sorted(settled) == list(range(600)) and messages > 1
    ok("a batch of 600 streams its results with its progress, each once")


def deadline_and_resume(stub):
    # 150 at 50 a second cannot end within a second.
    request = batch("py-slow", "funnelfox", 150, PERIOD_END)
    seen = {}
    error = refused(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        lambda: seen.update(
            (result.index, result) for _, result in follow(stub.CancelSubscription, request, timeout=1)
        ),
    )
    assert len(seen) < 150 and not any(result.replayed for result in seen.values()), error
    again = {result.index: result for _, result in follow(stub.CancelSubscription, request)}
    assert sorted(again) == list(range(150))
    assert all(again[index].replayed for index in seen), "what was told before is replayed"
    ok("a deadline ends the stream and not the work; sent again, it is resumed")
    for result in (result for _, result in follow(stub.CancelSubscription, request)):
        assert result.replayed and result.settled_time == again[result.index].settled_time
    ok("a repeat is marked as a replay")


def mistakes(stub):
    request = pb.CancelSubscriptionRequest(idempotency_key="has space")
    request.cancellations.add(account="rebilly", subscription_id="sub_1")
    request.cancellations.add(account="nobody", subscription_id="sub_2", when=NOW)
    error = refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: list(stub.CancelSubscription(request)))
    assert set(violations(error)) == {
        "idempotency_key", "cancellations[0].when", "cancellations[1].account",
    }, violations(error)
    ok("INVALID_ARGUMENT names every field")

    list(stub.CancelSubscription(batch("py-once", "rebilly", 1)))
    other = batch("py-once", "rebilly", 1, PERIOD_END)
    other.cancellations[0].comment = "other"
    error = refused(grpc.StatusCode.FAILED_PRECONDITION, lambda: list(stub.CancelSubscription(other)))
    told = conflicts(error)["py-once/0"]
    assert "cancellations[0].when" in told and "cancellations[0].comment" in told, told
    ok("FAILED_PRECONDITION names the fields that differ under a used key")


def enrollments(stub):
    request = pb.CancelEnrollmentsRequest(idempotency_key="py-drain")
    request.cancellations.add(
        account="sequenzy", sequence_id="seq_drain_3522", all=pb.AllEnrollments(), dry_run=False
    )
    results = [result for _, result in follow(stub.CancelEnrollments, request)]
    counts = [result.canceled_count for result in results]
    assert results[-1].outcome == pb.OUTCOME_CANCELED and counts[-1] == 3522, results[-1]
    assert counts == sorted(counts) and len(counts) > 1, counts
    ok("a drain of 3522 enrollments shows its progress")


def records(stub):
    request = pb.GetCancellationRequest(
        kind=pb.CANCELLATION_KIND_SUBSCRIPTION, idempotency_key="py-mixed/7"
    )
    record = stub.GetCancellation(request).cancellation
    assert record.subscription_result.outcome == pb.OUTCOME_CANCELED and not record.open
    keys, token = set(), ""
    while True:
        page = stub.ListCancellations(
            pb.ListCancellationsRequest(batch_id=record.batch_id, page_size=250, page_token=token)
        )
        keys |= {found.idempotency_key for found in page.cancellations}
        token = page.next_page_token
        if not token:
            break
    assert keys == {f"py-mixed/{i}" for i in range(600)}
    ok("records are found by key, and listed page by page")
    missing = pb.GetCancellationRequest(
        kind=pb.CANCELLATION_KIND_SUBSCRIPTION, idempotency_key="py-none"
    )
    refused(grpc.StatusCode.NOT_FOUND, lambda: stub.GetCancellation(missing))
    ok("an unknown key is NOT_FOUND")


def stop(stub):
    outcomes, stopped = [], None
    for response in stub.CancelSubscription(batch("py-stop", "funnelfox", 1000, PERIOD_END)):
        if stopped is None:
            stopped = stub.StopBatch(pb.StopBatchRequest(batch_id=response.progress.batch_id))
        outcomes += [result.outcome for result in response.results]
    assert stopped.stopped > 0 and outcomes.count(pb.OUTCOME_STOPPED) == stopped.stopped
    assert len(outcomes) == 1000
    ok(f"StopBatch stops what is not sent yet: {stopped.stopped} of 1000")


def ten_thousand(stub):
    request = batch("py-large", "solidgate", 10_000, include_provider_response=True)
    for _ in range(2):
        sizes, found = [], set()
        for response in stub.CancelSubscription(request):
            sizes.append(response.ByteSize())
            found |= {result.index for result in response.results}
        assert found == set(range(10_000))
        assert sum(sizes) > 4 * 1024 * 1024 > max(sizes)
    ok(f"10,000 items in one request, {sum(sizes) >> 20} MiB of results, with the default of 4 MiB")


def reflection(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert SERVICE in database.get_services()
    service = DescriptorPool(database).FindServiceByName(SERVICE)
    known = pb.DESCRIPTOR.services_by_name["CancellationService"]
    assert list(service.methods_by_name) == list(known.methods_by_name)
    ok("reflection has the service that the code was generated from")


def service_config_names_what_is_there():
    known = pb.DESCRIPTOR.services_by_name["CancellationService"]
    for method in json.loads(SERVICE_CONFIG)["methodConfig"]:
        for name in method["name"]:
            assert name["service"] == SERVICE
            assert name.get("method", "ListAccounts") in known.methods_by_name, name
    ok("the service config names methods that are there")


def health(process, channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    process.process.send_signal(signal.SIGTERM)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert process.end() == 0
    ok("health: Check serves, and Watch tells of the end before it comes")


def restart():
    with (
        tempfile.TemporaryDirectory() as place,
        served.sandbox(BINARY) as sandbox,
        served.serve(BINARY, place, "127.0.0.1:0", sandbox.word("rebilly")) as first,
    ):
        address = first.word("listening on")
        metadata = (("authorization", "Bearer " + (pathlib.Path(place) / "token").read_text().strip()),)
        with connect(address, SERVICE_CONFIG) as channel:
            stub = cancelot_pb2_grpc.CancellationServiceStub(channel)
            refused(grpc.StatusCode.UNAUTHENTICATED, lambda: stub.ListAccounts(pb.ListAccountsRequest()))
            ok("a caller without its token is refused")
            second, results = None, []
            request = batch("py-restart", "rebilly", 500)
            for _, result in follow(stub.CancelSubscription, request, metadata=metadata):
                results.append(result)
                if second is None and len(results) >= 50:
                    first.end(signal.SIGKILL)
                    second = served.serve(BINARY, place, address, sandbox.word("rebilly"))
            with second:
                assert sorted(result.index for result in results) == list(range(500))
                assert all(result.outcome == pb.OUTCOME_CANCELED for result in results)
                effects = sandbox.word("rebilly").rsplit("/", 1)[0] + "/_sandbox/rebilly/effects"
                with urllib.request.urlopen(effects) as answer:
                    tallies = json.load(answer)
                assert len(tallies) == 500
                assert all(tally["effects"] == 1 for tally in tallies.values())
                ok("killed in the middle and started on the same journal: resumed, each done once")


def main():
    service_config_names_what_is_there()
    with served.serve_sandbox(
        BINARY, "accounts.funnelfox.rate_per_second=50", "accounts.funnelfox.rate_burst=1"
    ) as process, connect(process.word("listening on"), SERVICE_CONFIG) as channel:
        stub = cancelot_pb2_grpc.CancellationServiceStub(channel)
        accounts(stub)
        progress_of_a_batch(stub)
        deadline_and_resume(stub)
        mistakes(stub)
        enrollments(stub)
        records(stub)
        stop(stub)
        ten_thousand(stub)
        reflection(channel)
        health(process, channel)
    restart()


main()

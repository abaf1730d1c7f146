package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"cancelot-client/client"
	pb "cancelot-client/gen/cancelot/v1"
)

func accounts(stub pb.CancellationServiceClient) {
	found, err := stub.ListAccounts(context.Background(), &pb.ListAccountsRequest{})
	must(err)
	check(len(found.GetAccounts()) == 5, found)
	ok("accounts are listed")
}

func progress(stub pb.CancellationServiceClient) {
	request := &pb.CancelSubscriptionRequest{IdempotencyKey: "go-mixed"}
	for i, one := range batch("", "", 600, now).GetCancellations() {
		one.Account = []string{"rebilly", "solidgate", "revolv3"}[i%3]
		request.Cancellations = append(request.Cancellations, one)
	}
	stream, err := stub.CancelSubscription(context.Background(), request)
	must(err)
	settled, messages := map[uint32]bool{}, 0
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(err)
		messages++
		for _, result := range response.GetResults() {
			check(!settled[result.GetIndex()] && result.GetOutcome() == pb.Outcome_OUTCOME_CANCELED, result)
			check(result.GetIsFinal(), result)
			settled[result.GetIndex()] = true
		}
		told := response.GetProgress()
		check(told.GetTotal() == 600 && int(told.GetSettled()) == len(settled), told)
	}
	check(len(settled) == 600 && messages > 1, messages)
	ok("a batch of 600 streams its results with its progress, each once")
}

func deadlineAndResume(stub pb.CancellationServiceClient) {
	// 150 at 50 a second cannot end within a second.
	request := batch("go-slow", "funnelfox", 150, periodEnd)
	within, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	seen := results{}
	refused(client.Follow(within, stub.CancelSubscription, request, seen.add), codes.DeadlineExceeded)
	check(len(seen) < 150, len(seen))

	again := results{}
	must(client.Follow(context.Background(), stub.CancelSubscription, request, again.add))
	check(len(again) == 150, len(again))
	for index, result := range seen {
		check(!result.GetReplayed() && again[index].GetReplayed(), again[index])
	}
	ok("a deadline ends the stream and not the work; sent again, it is resumed")

	repeat := results{}
	must(client.Follow(context.Background(), stub.CancelSubscription, request, repeat.add))
	for index, result := range repeat {
		check(result.GetReplayed() && proto.Equal(result.GetSettledTime(), again[index].GetSettledTime()), result)
	}
	ok("a repeat is marked as a replay")
}

func mistakes(stub pb.CancellationServiceClient) {
	request := batch("has space", "rebilly", 2, now)
	request.Cancellations[0].When = nil
	request.Cancellations[1].Account = "nobody"
	err := client.Follow(context.Background(), stub.CancelSubscription, request, results{}.add)
	refused(err, codes.InvalidArgument)
	told := client.Violations(err)
	for _, field := range []string{"idempotency_key", "cancellations[0].when", "cancellations[1].account"} {
		check(told[field] != "", field, " is not in ", told)
	}
	check(len(told) == 3, told)
	ok("InvalidArgument names every field")

	must(client.Follow(context.Background(), stub.CancelSubscription, batch("go-once", "rebilly", 1, now), results{}.add))
	err = client.Follow(context.Background(), stub.CancelSubscription, batch("go-once", "rebilly", 1, periodEnd), results{}.add)
	refused(err, codes.FailedPrecondition)
	check(strings.Contains(client.Conflicts(err)["go-once/0"], "cancellations[0].when"), client.Conflicts(err))
	ok("FailedPrecondition names the fields that differ under a used key")
}

func enrollments(stub pb.CancellationServiceClient) {
	request := &pb.CancelEnrollmentsRequest{
		IdempotencyKey: "go-drain",
		Cancellations: []*pb.EnrollmentCancellation{{
			Account: "sequenzy", SequenceId: "seq_drain_3522", DryRun: proto.Bool(false),
			Target: &pb.EnrollmentCancellation_All{All: &pb.AllEnrollments{}},
		}},
	}
	var last *pb.EnrollmentResult
	steps := 0
	must(client.Follow(context.Background(), stub.CancelEnrollments, request,
		func(_ *pb.Progress, result *pb.EnrollmentResult) {
			check(result.GetCanceledCount() >= last.GetCanceledCount(), result)
			last, steps = result, steps+1
		}))
	check(last.GetOutcome() == pb.Outcome_OUTCOME_CANCELED && last.GetCanceledCount() == 3522 && steps > 1, last)
	ok("a drain of 3522 enrollments shows its progress")
}

func records(stub pb.CancellationServiceClient) {
	found, err := stub.GetCancellation(context.Background(), &pb.GetCancellationRequest{
		Kind: pb.CancellationKind_CANCELLATION_KIND_SUBSCRIPTION, IdempotencyKey: "go-mixed/7",
	})
	must(err)
	record := found.GetCancellation()
	check(record.GetSubscriptionResult().GetOutcome() == pb.Outcome_OUTCOME_CANCELED, record)
	keys := map[string]bool{}
	ask := &pb.ListCancellationsRequest{BatchId: record.GetBatchId(), PageSize: 250}
	for {
		page, err := stub.ListCancellations(context.Background(), ask)
		must(err)
		for _, one := range page.GetCancellations() {
			keys[one.GetIdempotencyKey()] = true
		}
		if ask.PageToken = page.GetNextPageToken(); ask.PageToken == "" {
			break
		}
	}
	check(len(keys) == 600, len(keys))
	ok("records are found by key, and listed page by page")
	_, err = stub.GetCancellation(context.Background(), &pb.GetCancellationRequest{
		Kind: pb.CancellationKind_CANCELLATION_KIND_SUBSCRIPTION, IdempotencyKey: "go-none",
	})
	refused(err, codes.NotFound)
	ok("an unknown key is NotFound")
}

func stop(stub pb.CancellationServiceClient) {
	var stopped *pb.StopBatchResponse
	outcomes := map[pb.Outcome]uint32{}
	must(client.Follow(context.Background(), stub.CancelSubscription, batch("go-stop", "funnelfox", 1000, periodEnd),
		func(progress *pb.Progress, result *pb.SubscriptionResult) {
			if stopped == nil {
				var err error
				stopped, err = stub.StopBatch(context.Background(), &pb.StopBatchRequest{BatchId: progress.GetBatchId()})
				must(err)
			}
			outcomes[result.GetOutcome()]++
		}))
	check(stopped.GetStopped() > 0 && outcomes[pb.Outcome_OUTCOME_STOPPED] == stopped.GetStopped(), stopped, outcomes)
	ok("StopBatch stops what is not sent yet: %d of 1000", stopped.GetStopped())
}

func tenThousand(stub pb.CancellationServiceClient) {
	request := batch("go-large", "solidgate", 10_000, now)
	request.IncludeProviderResponse = true
	for range 2 {
		stream, err := stub.CancelSubscription(context.Background(), request)
		must(err)
		found, bytes, largest := 0, 0, 0
		for {
			response, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			must(err)
			found += len(response.GetResults())
			bytes += proto.Size(response)
			largest = max(largest, proto.Size(response))
		}
		check(found == 10_000 && bytes > 4<<20 && largest < 4<<20, found, " ", bytes, " ", largest)
	}
	ok("10,000 items in one request, with the default of 4 MiB")
}

// results are told by a stream, by index.
type results map[uint32]*pb.SubscriptionResult

func (r results) add(_ *pb.Progress, result *pb.SubscriptionResult) { r[result.GetIndex()] = result }

package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"cancelot-client/client"
	pb "cancelot-client/gen/cancelot/v1"
)

func reflection(connection *grpc.ClientConn) {
	stream, err := reflectionpb.NewServerReflectionClient(connection).ServerReflectionInfo(context.Background())
	must(err)
	must(stream.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{},
	}))
	answer, err := stream.Recv()
	must(err)
	names := map[string]bool{}
	for _, service := range answer.GetListServicesResponse().GetService() {
		names[service.GetName()] = true
	}
	check(names[pb.CancellationService_ServiceDesc.ServiceName], names)
	must(stream.CloseSend())
	ok("reflection lists the service")
}

func health(p *process, connection *grpc.ClientConn) {
	stub := healthpb.NewHealthClient(connection)
	ask := &healthpb.HealthCheckRequest{Service: pb.CancellationService_ServiceDesc.ServiceName}
	answer, err := stub.Check(context.Background(), ask)
	must(err)
	check(answer.GetStatus() == healthpb.HealthCheckResponse_SERVING, answer)
	watch, err := stub.Watch(context.Background(), ask)
	must(err)
	answer, err = watch.Recv()
	must(err)
	check(answer.GetStatus() == healthpb.HealthCheckResponse_SERVING, answer)
	must(p.command.Process.Signal(syscall.SIGTERM))
	answer, err = watch.Recv()
	must(err)
	check(answer.GetStatus() == healthpb.HealthCheckResponse_NOT_SERVING, answer)
	check(p.end(syscall.SIGTERM) == 0, "it did not end in order")
	ok("health: Check serves, and Watch tells of the end before it comes")
}

func restart() {
	place, err := os.MkdirTemp("", "cancelot")
	must(err)
	defer os.RemoveAll(place)
	sandbox := start("sequenzy", "sandbox", "--port", "0")
	defer sandbox.kill()
	const token = "a-token-of-the-checks-0123456789abcdef"
	first := serve(place, "127.0.0.1:0", sandbox.word("rebilly"), token)
	// The one that runs by then.
	defer func() { first.kill() }()
	address := first.word("listening on")
	connection := connect(address)
	defer connection.Close()
	stub := pb.NewCancellationServiceClient(connection)
	_, err = stub.ListAccounts(context.Background(), &pb.ListAccountsRequest{})
	refused(err, codes.Unauthenticated)
	ok("a caller without its token is refused")

	known := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token)
	found := results{}
	told := 0
	must(client.Follow(known, stub.CancelSubscription, batch("go-restart", "rebilly", 500, now),
		func(progress *pb.Progress, result *pb.SubscriptionResult) {
			check(result.GetOutcome() == pb.Outcome_OUTCOME_CANCELED, result)
			found.add(progress, result)
			if told++; told == 50 {
				first.kill()
				first = serve(place, address, sandbox.word("rebilly"), token)
			}
		}))
	check(told == 500 && len(found) == 500, told)

	host := strings.TrimSuffix(sandbox.word("rebilly"), "/rebilly")
	answer, err := http.Get(host + "/_sandbox/rebilly/effects")
	must(err)
	defer answer.Body.Close()
	var tallies map[string]struct{ Effects int }
	must(json.NewDecoder(answer.Body).Decode(&tallies))
	check(len(tallies) == 500, len(tallies))
	for id, tally := range tallies {
		check(tally.Effects == 1, id)
	}
	ok("killed in the middle and started on the same journal: resumed, each done once")
}

// Package client is what a Go client of Cancelot is made of; copy it.
//
// Three things are worth having: a connection with Cancelot's service config, Follow, which brings
// a request to its end over whatever happens to the connection, and readers for error details.
package client

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	// The service config asks for health checks, and this does them.
	_ "google.golang.org/grpc/health"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "cancelot-client/gen/cancelot/v1"
)

// Connect makes a connection to Cancelot. serviceConfig is what `cancelot proto --service-config`
// prints. With target as dns:///name:port of a headless service, calls go to all its addresses.
func Connect(target, serviceConfig string, transport credentials.TransportCredentials) (*grpc.ClientConn, error) {
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// A batch can be silent for as long as a provider is away. Pings find a dead connection.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		// The default limit of a message, 4 MiB, is enough for every one, so it is not raised.
	)
}

// Result is what the results of the two cancelling RPCs have in common.
type Result interface {
	GetIndex() uint32
	GetOutcome() pb.Outcome
}

// Response is a message of one of their streams.
type Response[R Result] interface {
	GetProgress() *pb.Progress
	GetResults() []R
}

// Times in a row that Follow sends a request without anything new coming of it.
const vainMax = 20

// Follow sends a request of one of the two cancelling RPCs, such as client.CancelSubscription, and
// tells each result until all items have settled.
//
// Each item's outcome is told once, though the request is sent again whenever the connection breaks
// or the service restarts; that replays what has settled and joins what still runs. Enrollments are
// also told while they are drained, with OUTCOME_UNSPECIFIED.
//
// A deadline of ctx ends the wait with DeadlineExceeded and the work goes on: call Follow with the
// same request again, now or tomorrow.
func Follow[Req, Res any, R Result, P interface {
	*Res
	Response[R]
}](
	ctx context.Context,
	call func(context.Context, Req, ...grpc.CallOption) (grpc.ServerStreamingClient[Res], error),
	request Req,
	each func(*pb.Progress, R),
) error {
	settled := map[uint32]bool{}
	for vain := 0; ; vain++ {
		before := len(settled)
		err := follow[Req, Res, R, P](ctx, call, request, settled, each)
		if err == nil {
			return nil
		}
		if len(settled) > before {
			vain = 0
		}
		wait, again := RetryDelay(err)
		if !again {
			wait, again = min(5*time.Second, 100*time.Millisecond<<min(vain, 6)), broken(err)
		}
		if !again || vain >= vainMax {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

func follow[Req, Res any, R Result, P interface {
	*Res
	Response[R]
}](
	ctx context.Context,
	call func(context.Context, Req, ...grpc.CallOption) (grpc.ServerStreamingClient[Res], error),
	request Req,
	settled map[uint32]bool,
	each func(*pb.Progress, R),
) error {
	stream, err := call(ctx, request)
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, result := range P(response).GetResults() {
			if settled[result.GetIndex()] {
				continue
			}
			if result.GetOutcome() != pb.Outcome_OUTCOME_UNSPECIFIED {
				settled[result.GetIndex()] = true
			}
			each(P(response).GetProgress(), result)
		}
	}
}

// Whether a status says nothing about the request: the connection broke, or the service restarts.
// The key makes it safe to send the request again.
func broken(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Internal, codes.Unknown:
		return true
	default:
		return false
	}
}

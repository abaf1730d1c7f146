// Cancelot as a Go client meets it. Usage: cancelot-client BINARY SERVICE_CONFIG
package main

import (
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"cancelot-client/client"
	pb "cancelot-client/gen/cancelot/v1"
)

func main() {
	process := serveSandbox("accounts.funnelfox.rate_per_second=50", "accounts.funnelfox.rate_burst=1")
	defer process.kill()
	connection := connect(process.word("listening on"))
	defer connection.Close()
	stub := pb.NewCancellationServiceClient(connection)
	accounts(stub)
	progress(stub)
	deadlineAndResume(stub)
	mistakes(stub)
	enrollments(stub)
	records(stub)
	stop(stub)
	tenThousand(stub)
	reflection(connection)
	health(process, connection)
	restart()
}

func connect(address string) *grpc.ClientConn {
	serviceConfig, err := os.ReadFile(os.Args[2])
	must(err)
	connection, err := client.Connect(address, string(serviceConfig), insecure.NewCredentials())
	must(err)
	return connection
}

var (
	now       = &pb.When{When: &pb.When_Now_{Now: &pb.When_Now{}}}
	periodEnd = &pb.When{When: &pb.When_PeriodEnd_{PeriodEnd: &pb.When_PeriodEnd{}}}
)

// batch is a request of so many subscriptions.
func batch(key, account string, count int, when *pb.When) *pb.CancelSubscriptionRequest {
	request := &pb.CancelSubscriptionRequest{IdempotencyKey: key}
	for i := range count {
		request.Cancellations = append(request.Cancellations, &pb.SubscriptionCancellation{
			Account: account, SubscriptionId: fmt.Sprint(10_000 + i), When: when,
		})
	}
	return request
}

func ok(what string, values ...any) { fmt.Printf("ok: "+what+"\n", values...) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func check(holds bool, seen ...any) {
	if !holds {
		panic(fmt.Sprint(seen...))
	}
}

func refused(err error, code codes.Code) {
	check(status.Code(err) == code, "not refused with ", code, ": ", err)
}

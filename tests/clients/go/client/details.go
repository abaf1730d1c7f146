package client

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// Violations says what is wrong with a request, by field: of InvalidArgument.
func Violations(err error) map[string]string {
	found := map[string]string{}
	for _, detail := range status.Convert(err).Details() {
		if bad, is := detail.(*errdetails.BadRequest); is {
			for _, violation := range bad.GetFieldViolations() {
				found[violation.GetField()] = violation.GetDescription()
			}
		}
	}
	return found
}

// Conflicts says what differs from the first use of a key, by key: of FailedPrecondition.
func Conflicts(err error) map[string]string {
	found := map[string]string{}
	for _, detail := range status.Convert(err).Details() {
		if failure, is := detail.(*errdetails.PreconditionFailure); is {
			for _, violation := range failure.GetViolations() {
				found[violation.GetSubject()] = violation.GetDescription()
			}
		}
	}
	return found
}

// RetryDelay says after which time the service wants to be asked again, if it says so.
func RetryDelay(err error) (time.Duration, bool) {
	for _, detail := range status.Convert(err).Details() {
		if info, is := detail.(*errdetails.RetryInfo); is {
			return info.GetRetryDelay().AsDuration(), true
		}
	}
	return 0, false
}

package larder

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// Details is what an error of Larder says besides its code.
type Details struct {
	// Reason names the cause, for programs.
	Reason string
	// Violations has the rule that each wrong field breaks.
	Violations map[string]string
	// RetryAfter is when to try again; 0 if the error does not say.
	RetryAfter time.Duration
}

// ErrorDetails decodes the details of an error. They are empty if the error did not come from Larder.
func ErrorDetails(err error) Details {
	details := Details{Violations: map[string]string{}}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			details.Reason = detail.GetReason()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				details.Violations[violation.GetField()] = violation.GetDescription()
			}
		case *errdetails.RetryInfo:
			details.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	return details
}

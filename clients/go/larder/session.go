package larder

import (
	"context"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const tokenHeader = "x-larder-token"

// Session shows one user their own writes, whichever replica answers: connect with
// grpc.WithUnaryInterceptor(session.Intercept).
//
// Replies to writes name their commits in a header, and every call of the session returns those names. A write replaces the
// tokens that the session had when the write began, because its commit came after theirs. Writes that overlap keep a token each.
type Session struct {
	mutex  sync.Mutex
	tokens []string
}

// Tokens returns what another process needs to continue the session with [Session.Add].
func (s *Session) Tokens() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]string(nil), s.tokens...)
}

// Add makes the session show further commits, such as those of an import.
func (s *Session) Add(tokens ...string) { s.replace(nil, tokens) }

// Intercept is a grpc.UnaryClientInterceptor.
func (s *Session) Intercept(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	sent := s.Tokens()
	for _, token := range sent {
		ctx = metadata.AppendToOutgoingContext(ctx, tokenHeader, token)
	}
	var header metadata.MD
	err := invoke(ctx, method, request, reply, conn, append(options, grpc.Header(&header))...)
	if err != nil && strings.HasPrefix(ErrorDetails(err).Reason, "TOKEN_") {
		s.replace(sent, nil) // A database that was restored to an earlier state no longer has these commits.
	} else if fresh := header.Get(tokenHeader); err == nil && len(fresh) > 0 {
		s.replace(sent, fresh)
	}
	return err
}

func (s *Session) replace(old, fresh []string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	kept := append([]string(nil), fresh...)
	for _, token := range s.tokens {
		if !slices.Contains(old, token) && !slices.Contains(fresh, token) {
			kept = append(kept, token)
		}
	}
	s.tokens = kept
}

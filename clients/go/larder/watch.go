package larder

import (
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "larder.dev/clients/go/catalogv1"
)

const (
	firstDelay   = 100 * time.Millisecond
	longestDelay = 10 * time.Second
)

// Watch yields every change once, until ctx ends. A lost stream resumes from its last token, on any replica.
func Watch(ctx context.Context, catalog pb.ProductCatalogClient,
	request *pb.WatchProductsRequest) iter.Seq2[*pb.WatchProductsResponse, error] {
	return func(yield func(*pb.WatchProductsResponse, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		request := proto.CloneOf(request)
		delay := firstDelay
		for {
			stream, err := catalog.WatchProducts(ctx, request)
			for err == nil {
				var message *pb.WatchProductsResponse
				if message, err = stream.Recv(); err == nil {
					request.StartToken, delay = message.GetToken(), firstDelay
					if !yield(message, nil) {
						return
					}
				}
			}
			if !resumable(err) {
				yield(nil, err)
				return
			}
			// Full jitter: many watchers of one replica do not return at the same moment.
			select {
			case <-time.After(rand.N(delay)):
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			}
			delay = min(2*delay, longestDelay)
		}
	}
}

// resumable tells whether the connection or the replica has gone, or the replica has no room for another stream.
func resumable(err error) bool {
	code := status.Code(err)
	return errors.Is(err, io.EOF) || code == codes.Unavailable || code == codes.ResourceExhausted
}

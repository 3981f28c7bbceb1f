// Package larder is a client of Larder, a gRPC cache for product catalogues.
package larder

import (
	_ "embed"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// ServiceConfig has retries of idempotent calls, a limit on them, deadlines, and round_robin.
//
//go:embed service_config.json
var ServiceConfig string

// Connect returns a channel to all replicas behind a name, such as dns:///larder-headless:50051.
func Connect(target string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(ServiceConfig),
		// Notices a dead replica while a stream is open.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}, options...)...)
}

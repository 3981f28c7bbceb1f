// Package larder is a client of Larder, a gRPC cache for product catalogues.
package larder

import (
	"context"
	"crypto/x509"
	_ "embed"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// ServiceConfig has retries of idempotent calls, a limit on them, deadlines, and round_robin.
//
//go:embed service_config.json
var ServiceConfig string

// Connect returns a channel to all replicas behind a name, such as dns:///larder-headless:50051. Without the options of Secured
// it speaks plain text.
func Connect(target string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(ServiceConfig),
		// Notices a dead replica while a stream is open.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}, options...)...)
}

// Secured makes a channel speak TLS by the authorities in ca, in PEM, or by the public ones when ca is nil, and send a token, unless
// it is empty, with every call.
func Secured(ca []byte, token string) ([]grpc.DialOption, error) {
	var pool *x509.CertPool
	if ca != nil {
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("larder: no certificate in the authorities")
		}
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(pool, ""))}
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(token)))
	}
	return options, nil
}

type bearer string

func (token bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

// Every call of Larder once, to copy from: go run ./cmd/tour HOST:PORT HOST:PORT, two replicas of one catalogue.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	pb "larder.dev/clients/go/catalogv1"
	"larder.dev/clients/go/larder"
)

// freshest asks for every write acknowledged before.
var freshest = &pb.ReadOptions{Consistency: &pb.ReadOptions_FullyConsistent{FullyConsistent: true}}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: tour HOST:PORT HOST:PORT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	// In a cluster one channel leads to all replicas: larder.Connect("dns:///larder-headless:50051").
	catalog, replica := connect(os.Args[1]), connect(os.Args[2])
	product := create(ctx, catalog)
	readMetadata(ctx, catalog, product)
	update(ctx, catalog, product)
	lists(ctx, catalog, product)
	wrongFields(ctx, catalog)
	readYourWrites(ctx, catalog, replica, product)
	withSession(ctx, os.Args[1], os.Args[2], product)
	follow(ctx, catalog, replica, product)
	_, err := catalog.DeleteProduct(ctx, &pb.DeleteProductRequest{Id: product.GetId()})
	must(err)
	fmt.Println("delete: ok")
}

func connect(target string, options ...grpc.DialOption) pb.ProductCatalogClient {
	// A server with TLS and tokens: LARDER_CA names its authorities, LARDER_TOKEN_FILE your token.
	if path, ok := os.LookupEnv("LARDER_CA"); ok {
		ca, err := os.ReadFile(path)
		must(err)
		token, err := os.ReadFile(os.Getenv("LARDER_TOKEN_FILE"))
		must(err)
		secured, err := larder.Secured(ca, strings.TrimSpace(string(token)))
		must(err)
		options = append(options, secured...)
	}
	conn, err := larder.Connect(target, options...)
	must(err)
	return pb.NewProductCatalogClient(conn)
}

func create(ctx context.Context, catalog pb.ProductCatalogClient) *pb.Product {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	// The request id makes it safe to repeat the call, so that the channel may retry it.
	request := &pb.CreateProductRequest{
		Product: &pb.Product{
			Id:    "go-" + uuid.NewString(),
			Name:  "Copper kettle",
			Price: &money.Money{CurrencyCode: "EUR", Units: 12, Nanos: 500_000_000},
			Tags:  []string{"go"},
		},
		RequestId: uuid.NewString(),
	}
	created, err := catalog.CreateProduct(ctx, request)
	must(err)
	again, err := catalog.CreateProduct(ctx, request)
	must(err)
	check(proto.Equal(again.GetProduct(), created.GetProduct()), "the repeated call gets the first reply")
	fmt.Println("create:", created.GetProduct().GetId())
	return created.GetProduct()
}

func readMetadata(ctx context.Context, catalog pb.ProductCatalogClient, product *pb.Product) {
	// OpenTelemetry's instrumentation of gRPC adds traceparent by itself.
	traceparent := fmt.Sprintf("00-%s-%s-01", randomHex(16), randomHex(8))
	ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", traceparent, "x-cache-debug", "1")
	var header metadata.MD
	got, err := catalog.GetProduct(ctx, &pb.GetProductRequest{Id: product.GetId()}, grpc.Header(&header))
	must(err)
	check(proto.Equal(got.GetProduct(), product), "the product is as it was created")
	cache, tier := header.Get("x-cache-status"), header.Get("x-cache-tier")
	check(len(cache) == 1 && len(tier) == 1 && len(header.Get("x-request-id")) == 1, "the reply has metadata")
	fmt.Println("get:", cache[0], "from", tier[0])
	fmt.Println("traceparent:", traceparent)
}

func update(ctx context.Context, catalog pb.ProductCatalogClient, product *pb.Product) {
	change := &pb.UpdateProductRequest{
		Product:    &pb.Product{Id: product.GetId(), InStock: true, Etag: product.GetEtag()},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"in_stock"}},
		RequestId:  uuid.NewString(),
	}
	updated, err := catalog.UpdateProduct(ctx, change)
	must(err)
	check(updated.GetProduct().GetInStock() && updated.GetProduct().GetName() == product.GetName(), "one field changes")
	// Somebody else changes the product with the etag of before: read it again, and decide anew.
	change.RequestId = uuid.NewString()
	_, err = catalog.UpdateProduct(ctx, change)
	conflict := status.Code(err) == codes.Aborted && larder.ErrorDetails(err).Reason == "ETAG_MISMATCH"
	check(conflict, "the conflict is told")
	fmt.Println("update: ok, and a conflict is told")
}

func lists(ctx context.Context, catalog pb.ProductCatalogClient, product *pb.Product) {
	request := &pb.ListProductsRequest{OrderBy: "price desc", PageSize: 20, Read: freshest}
	seen, pages := map[string]bool{}, 0
	for pages == 0 || request.GetPageToken() != "" {
		page, err := catalog.ListProducts(ctx, request)
		must(err)
		for _, found := range page.GetProducts() {
			seen[found.GetId()] = true
		}
		request.PageToken = page.GetNextPageToken()
		pages++
	}
	check(seen[product.GetId()] && pages > 1, "the list has the product")
	ids := []string{product.GetId(), "no-such"}
	batch, err := catalog.BatchGetProducts(ctx, &pb.BatchGetProductsRequest{Ids: ids, Read: freshest})
	must(err)
	check(len(batch.GetProducts()) == 1 && slices.Equal(batch.GetMissingIds(), ids[1:]), "one product is missing")
	found, err := catalog.SearchProducts(ctx, &pb.SearchProductsRequest{
		Query: "copper kettle", Filter: &pb.ProductFilter{Tag: "go"}, Read: freshest,
	})
	must(err)
	isProduct := func(other *pb.Product) bool { return other.GetId() == product.GetId() }
	check(slices.ContainsFunc(found.GetProducts(), isProduct), "the search finds the product")
	fmt.Printf("list: %d products on %d pages; batch and search: ok\n", len(seen), pages)
}

func wrongFields(ctx context.Context, catalog pb.ProductCatalogClient) {
	_, err := catalog.CreateProduct(ctx, &pb.CreateProductRequest{Product: &pb.Product{Id: "a b"}})
	details := larder.ErrorDetails(err)
	check(status.Code(err) == codes.InvalidArgument && details.Reason == "INVALID_REQUEST", "the request is refused")
	check(details.Violations["product.id"] != "" && details.Violations["product.name"] != "", "each field is named")
	// Errors that pass, such as an overload, say when to try again.
	check(details.RetryAfter == 0, "trying again is of no use")
	fmt.Println("error:", details.Reason, details.Violations)
}

func rename(ctx context.Context, catalog pb.ProductCatalogClient, product *pb.Product, name string) string {
	updated, err := catalog.UpdateProduct(ctx, &pb.UpdateProductRequest{
		Product:   &pb.Product{Id: product.GetId(), Name: name},
		RequestId: uuid.NewString(),
	})
	must(err)
	return updated.GetToken()
}

func readYourWrites(ctx context.Context, catalog, replica pb.ProductCatalogClient, product *pb.Product) {
	token := rename(ctx, catalog, product, "Steel kettle")
	read := &pb.ReadOptions{Consistency: &pb.ReadOptions_AtLeastAsFresh{AtLeastAsFresh: token}}
	got, err := replica.GetProduct(ctx, &pb.GetProductRequest{Id: product.GetId(), Read: read})
	must(err)
	check(got.GetProduct().GetName() == "Steel kettle", "the other replica shows the write")
	fmt.Println("read your writes: ok")
}

func withSession(ctx context.Context, first, second string, product *pb.Product) {
	session := &larder.Session{} // One for each user.
	intercept := grpc.WithUnaryInterceptor(session.Intercept)
	catalog, replica := connect(first, intercept), connect(second, intercept)
	for _, name := range []string{"Iron kettle", "Glass kettle"} {
		rename(ctx, catalog, product, name)
		got, err := replica.GetProduct(ctx, &pb.GetProductRequest{Id: product.GetId()})
		must(err)
		check(got.GetProduct().GetName() == name, "the session shows its own write")
	}
	// A token of a database that is no more. The error says so once, and the session goes on without it.
	session.Add("AhoJW8_d-j45AAAAAAAAAALHeehTpHEDTgAAAAAAAAAD9XhZyXs9Q3U")
	_, err := catalog.GetProduct(ctx, &pb.GetProductRequest{Id: product.GetId()})
	check(strings.HasPrefix(larder.ErrorDetails(err).Reason, "TOKEN_"), "the token is lost")
	_, err = catalog.GetProduct(ctx, &pb.GetProductRequest{Id: product.GetId()})
	must(err)
	fmt.Println("session: ok")
}

func follow(ctx context.Context, catalog, replica pb.ProductCatalogClient, product *pb.Product) {
	token := rename(ctx, catalog, product, "Before the watch")
	// Another replica goes on where the first one stopped.
	for number, watched := range []pb.ProductCatalogClient{catalog, replica} {
		name := fmt.Sprint("Kettle ", number+1)
		rename(ctx, catalog, product, name)
		for message, err := range larder.Watch(ctx, watched, &pb.WatchProductsRequest{StartToken: token}) {
			must(err)
			if message.GetEvent().GetId() == product.GetId() {
				check(message.GetEvent().GetProduct().GetName() == name, "the next change comes next")
				token = message.GetToken()
				break
			}
		}
	}
	fmt.Println("watch: ok, and resumed on the other replica")
}

func randomHex(bytes int) string {
	random := make([]byte, bytes)
	rand.Read(random)
	return hex.EncodeToString(random)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func check(holds bool, what string) {
	if !holds {
		log.Fatal("not so: ", what)
	}
}

// Writes on one replica and reads each write at once on the other: sessioncheck HOST:PORT HOST:PORT COUNT.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	pb "larder.dev/clients/go/catalogv1"
	"larder.dev/clients/go/larder"
)

const users = 16

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: sessioncheck HOST:PORT HOST:PORT COUNT")
	}
	count, err := strconv.Atoi(os.Args[3])
	must(err)
	var right atomic.Int64
	var all sync.WaitGroup
	for user := range users {
		all.Go(func() { oneUser(os.Args[1:3], user, count, &right) })
	}
	all.Wait()
	fmt.Printf("session: %d of %d reads show the write before them\n", right.Load(), count)
	if right.Load() != int64(count) {
		os.Exit(1)
	}
}

// oneUser makes the share of one user, who always makes two writes at once.
func oneUser(addresses []string, user, count int, right *atomic.Int64) {
	ctx := context.Background() // The service config gives each call its deadline.
	session := &larder.Session{}
	var catalogs [2]pb.ProductCatalogClient
	for at, address := range addresses {
		conn, err := larder.Connect(address, grpc.WithUnaryInterceptor(session.Intercept))
		must(err)
		defer conn.Close()
		catalogs[at] = pb.NewProductCatalogClient(conn)
	}
	var products [2]string
	for at := range products {
		products[at] = "session-go-" + uuid.NewString()
		product := &pb.Product{Id: products[at], Name: "new"}
		request := &pb.CreateProductRequest{Product: product, RequestId: uuid.NewString()}
		_, err := catalogs[0].CreateProduct(ctx, request)
		must(err)
	}
	for number := user; number < count/2; number += users {
		turn, name := number/users%2, strconv.Itoa(number)
		var writes sync.WaitGroup
		for _, id := range products {
			writes.Go(func() {
				product := &pb.Product{Id: id, Name: name}
				update := &pb.UpdateProductRequest{Product: product, RequestId: uuid.NewString()}
				_, err := catalogs[turn].UpdateProduct(ctx, update)
				must(err)
			})
		}
		writes.Wait()
		for _, id := range products {
			got, err := catalogs[1-turn].GetProduct(ctx, &pb.GetProductRequest{Id: id})
			must(err)
			if got.GetProduct().GetName() == name {
				right.Add(1)
			}
		}
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

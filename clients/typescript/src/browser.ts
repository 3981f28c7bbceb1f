// A client of Larder for browsers, by gRPC-Web: import { connect, Session } from "larder-client/browser"; Larder must list the page's origin in `origins` of `[grpc-web]`.

import { createClient, type Client, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ProductCatalog } from "./gen/larder/catalog/v1/product_catalog_pb.js";

export { details } from "./errors.js";
export { Session } from "./session.js";
export { watch } from "./watch.js";

/** Returns a client of the server at a URL, such as `https://catalog.example`. */
export function connect(baseUrl: string, ...interceptors: Interceptor[]): Client<typeof ProductCatalog> {
  return createClient(ProductCatalog, createGrpcWebTransport({ baseUrl, interceptors, defaultTimeoutMs: 10_000 }));
}

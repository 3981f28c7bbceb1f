// Following changes across lost connections.

import { clone, create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type Client } from "@connectrpc/connect";
import {
  ProductCatalog,
  WatchProductsRequestSchema,
  type WatchProductsResponse,
} from "./gen/larder/catalog/v1/product_catalog_pb.js";

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 10_000;
// The connection or the replica has gone, or the replica has no room for another stream.
const RESUMABLE = [Code.Unavailable, Code.ResourceExhausted];

/** Yields every change once. A lost stream resumes from its last token, on any replica. */
export async function* watch(
  catalog: Client<typeof ProductCatalog>,
  init: MessageInitShape<typeof WatchProductsRequestSchema>,
): AsyncGenerator<WatchProductsResponse, void> {
  const request = clone(WatchProductsRequestSchema, create(WatchProductsRequestSchema, init));
  for (let delay = FIRST_DELAY_MS; ; delay = Math.min(2 * delay, LONGEST_DELAY_MS)) {
    try {
      for await (const message of catalog.watchProducts(request)) {
        request.startToken = message.token;
        delay = FIRST_DELAY_MS;
        yield message;
      }
    } catch (error) {
      if (!RESUMABLE.includes(ConnectError.from(error).code)) throw error;
    }
    // Full jitter: many watchers of one replica do not return at the same moment.
    await new Promise((resolve) => setTimeout(resolve, Math.random() * delay));
  }
}

// A client of Larder, a gRPC cache for product catalogues, for Node.js. A browser uses browser.ts.

export { connect, secured, type Catalog, type Target } from "./channel.js";
export { details, type Details } from "./errors.js";
export { Session } from "./session.js";
export { watch } from "./watch.js";
export { ProductCatalog } from "./gen/larder/catalog/v1/product_catalog_pb.js";

# Everything there is to do here; `make` alone lists the targets. ARGS="..." goes to the program that a target runs.

CARGO ?= cargo
# Where the server listens and the example calls go.
ADDRESS := $(if $(LARDER_LISTEN),$(LARDER_LISTEN),127.0.0.1:50051)
# The profile of `make run`.
RUN_PROFILE ?= quick
# CI builds exactly what Cargo.lock says.
LOCKED := $(if $(CI),--locked)
# A fresh install of Rust may not be on the PATH of this shell yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help run cluster test test-page test-clients client-code client-code-check chaos soak attack bench descriptor-set fmt fmt-check lint links deny sbom fuzz buf-lint buf-breaking alerts dashboards k8s image image-try k8s-try tools ci clean rust

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

define EXAMPLES

Larder is about to answer on $(ADDRESS), from a SQLite file with a sample catalogue. Try these in another terminal:

  grpcurl -plaintext $(ADDRESS) list
  grpcurl -plaintext -d '{"page_size": 3}' $(ADDRESS) larder.catalog.v1.ProductCatalog/ListProducts
  grpcurl -plaintext -d '{"query": "coffee grinder", "page_size": 3}' $(ADDRESS) larder.catalog.v1.ProductCatalog/SearchProducts
  grpcurl -plaintext -d '{"id": "copper-saucepan-18cm"}' $(ADDRESS) larder.catalog.v1.ProductCatalog/GetProduct
  grpcurl -plaintext -d '{"product": {"id": "my-first", "name": "My first product", "price": {"currency_code": "EUR", "units": 12}}}' $(ADDRESS) larder.catalog.v1.ProductCatalog/CreateProduct
  grpcurl -plaintext -d '{"product": {"id": "my-first", "in_stock": true}, "update_mask": {"paths": ["in_stock"]}}' $(ADDRESS) larder.catalog.v1.ProductCatalog/UpdateProduct

Ctrl-C stops the server.

endef
export EXAMPLES

run: rust ## Build and start Larder on SQLite, with a sample catalogue
	@echo 'Building (about 3 minutes the first time, seconds after that) ...'
	@$(CARGO) build $(LOCKED) --profile $(RUN_PROFILE) --bin larder
	@printf '%s\n' "$$EXAMPLES"
	@exec $(CARGO) run $(LOCKED) --quiet --profile $(RUN_PROFILE) --bin larder -- serve $(ARGS)

cluster: rust ## Start three replicas over PostgreSQL and Redis, and print calls to try
	@.ci/tools install postgresql redis
	@echo 'Building (about 3 minutes the first time, seconds after that) ...'
	@$(CARGO) build $(LOCKED) --profile $(RUN_PROFILE) --bin larder
	@$(CARGO) build $(LOCKED) --profile $(RUN_PROFILE) -p larder-test-servers --bin larder-cluster
	@eval "$$(.ci/tools env)" && exec $(CARGO) run $(LOCKED) --quiet --profile $(RUN_PROFILE) -p larder-test-servers --bin larder-cluster -- $(ARGS)

# Most tests spend most of their time waiting: for a database, a process, or a bound to pass.
test: export RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN))))
test: rust ## Install what the tests need, and run all tests
	@.ci/tools install test
	@eval "$$(.ci/tools env)" && $(CARGO) build $(LOCKED) --bin larder && exec $(CARGO) test $(LOCKED) --workspace --no-fail-fast $(ARGS)

test-page: rust ## Test the page, and calls from pages, in a headless Chromium
	@.ci/tools install page
	@$(CARGO) build $(LOCKED) --bin larder
	@for it in tests/page clients/typescript; do (cd $$it && npm ci --silent --no-audit --no-fund --ignore-scripts) || exit; done
	@eval "$$(.ci/tools env)" && cd tests/page && exec npm test --silent -- $(ARGS)

test-clients: rust ## Run the clients in Python, Go, TypeScript and Java on a cluster whose bus is broken
	@.ci/tools install clients
	@$(CARGO) build $(LOCKED) --bin larder
	@$(CARGO) build $(LOCKED) -p larder-test-servers --bin larder-cluster
	@clients/build
	@eval "$$(.ci/tools env)" && exec $(CARGO) run $(LOCKED) --quiet -p larder-test-servers --bin larder-cluster -- --break-bus --run clients/test

client-code: ## Generate the code of the clients from the contract
	@clients/generate

client-code-check: ## Check that the code of the clients is up to date
	@clients/generate --check

chaos: rust ## Break a cluster under load and check every read; ARGS="--full", "--only NAME" or "--list"
	@.ci/tools install chaos
	@$(CARGO) build $(LOCKED) --profile $(RUN_PROFILE) --bin larder
	@$(CARGO) build $(LOCKED) --profile $(RUN_PROFILE) -p larder-chaos
	@eval "$$(.ci/tools env)" && exec $(CARGO) run $(LOCKED) --quiet --profile $(RUN_PROFILE) -p larder-chaos -- $(ARGS)

soak: rust ## Break a cluster by chance for two hours, and look whether it uses more and more; ARGS="--minutes 10"
	@.ci/tools install chaos
	@$(CARGO) build $(LOCKED) --profile $(RUN_PROFILE) --bin larder
	@$(CARGO) build $(LOCKED) --profile $(RUN_PROFILE) -p larder-chaos
	@eval "$$(.ci/tools env)" && exec $(CARGO) run $(LOCKED) --quiet --profile $(RUN_PROFILE) -p larder-chaos -- --soak $(ARGS)

attack: rust ## Attack a replica, and measure what a polite client sees; ARGS="--only NAME" or "--list"
	@$(CARGO) build $(LOCKED) --profile $(RUN_PROFILE) --bin larder
	@exec $(CARGO) run $(LOCKED) --quiet --profile $(RUN_PROFILE) -p larder-attack -- $(ARGS)

bench: rust ## Measure Larder beside a bare tonic server
	@$(CARGO) run $(LOCKED) --release -p larder-bench -- $(ARGS)

descriptor-set: rust ## Write the contract to larder.binpb, as an encoded FileDescriptorSet
	@$(CARGO) run $(LOCKED) --quiet --bin larder -- descriptor-set --output larder.binpb

fmt: rust ## Format the code
	@$(CARGO) fmt --all

fmt-check: rust ## Check that the code is formatted
	@$(CARGO) fmt --all --check

lint: rust ## Run clippy; a warning is an error
	@$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings

links: ## Check the links and file names in the documentation
	@.ci/links

deny: rust ## Check reasons, licences, bans, sources and advisories of the dependencies
	@.ci/deny

sbom: rust ## Write larder.cdx.json, the bill of materials of the program, as CycloneDX
	@.ci/sbom larder.cdx.json

fuzz: rust ## Look for inputs that break a parser; ARGS="--target NAME --seconds 600" or "--list"
	@.ci/fuzz $(ARGS)

buf-lint: ## Check the style of the contract
	@.ci/tools install buf
	@"$$(.ci/tools path buf)" lint

buf-breaking: ## Check that the contract breaks no client of the newest release
	@.ci/buf-breaking

alerts: ## Check the alerts and the dashboard, and run the tests of the alerts
	@.ci/tools install promtool
	@python3 deploy/check.py rules

dashboards: rust ## Run every query of dashboard and alerts against a real cluster and Prometheus
	@.ci/tools install promtool postgresql redis grpcurl
	@$(CARGO) build $(LOCKED) --profile $(RUN_PROFILE) --bin larder
	@$(CARGO) build $(LOCKED) --profile $(RUN_PROFILE) -p larder-test-servers --bin larder-cluster
	@eval "$$(.ci/tools env)" && exec env LARDER_CLUSTER="$(CARGO) run $(LOCKED) --quiet --profile $(RUN_PROFILE) -p larder-test-servers --bin larder-cluster" python3 deploy/check.py live

k8s: ## Check the manifests of Kubernetes and compose.yaml
	@.ci/tools install k8s
	@eval "$$(.ci/tools env)" && "$$(.ci/tools path kubernetes-validate)" k8s/check.py

image: ## Build the image larder with docker, podman or buildah
	@builder=$$(for it in docker podman buildah; do if command -v $$it >/dev/null; then echo $$it && break; fi; done) && \
		exec $${builder:?is missing: docker, podman or buildah} build --build-arg REVISION="$$(git rev-parse HEAD)" --tag larder:0.1.0 .

image-try: ## Build the image from a base of its own and try it (root on Debian; needs no registry of images)
	@.ci/image

k8s-try: ## Send the manifests to a real API server (needs Go, etcd and kubectl; the first run builds the server)
	@.ci/api-server

tools: rust ## Install the tools for tests and checks (.ci/tools lists them)
	@.ci/tools install all

ci: ## Run everything that CI runs
	@.ci/run

clean: ## Remove what was built
	@$(CARGO) clean
	@rm -f larder.binpb larder.cdx.json

rust:
	@command -v $(CARGO) >/dev/null 2>&1 || { echo 'Rust is missing: install it from https://rustup.rs'; exit 1; }
	@command -v cc >/dev/null 2>&1 || { echo 'A C compiler (cc) is missing: install gcc or clang'; exit 1; }

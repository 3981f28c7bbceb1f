# The image of Larder: one static program, and nothing else that could be run.
#
#   docker build --tag larder .
#   docker buildx build --platform linux/amd64,linux/arm64 --tag REGISTRY/larder --push .
#
# podman and buildah take the same arguments. Every platform compiles natively, or under the emulation of the builder.

# Rust, a C compiler, and glibc with its static libraries.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
# Nothing, or an image with what your scanners expect, such as gcr.io/distroless/static-debian12.
ARG RUNTIME_IMAGE=scratch

# The manifests, with empty sources: they stay the same until a dependency changes, and so does the layer built from them.
FROM ${BUILD_IMAGE} AS manifests
WORKDIR /source
COPY . .
RUN mkdir /manifests && find . -name Cargo.toml -o -name Cargo.lock | xargs tar -cf - | tar -xf - -C /manifests
WORKDIR /manifests
RUN for member in crates/* tests/*; do mkdir "$member/src" && touch "$member/src/lib.rs"; done \
    && mkdir proto && touch proto/lib.rs && echo 'fn main() {}' | tee build.rs crates/cli/src/main.rs

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
# Static: the program needs no library of the runtime image. Without symbols it is a third smaller; panics still name their line.
ENV RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_INCREMENTAL=0
COPY --from=manifests /manifests .
# The target is named so that RUSTFLAGS apply to the program alone, not to the build scripts that run here.
RUN cargo build --locked --release --package larder-cli --bin larder --target "$(rustc --print host-tuple)" \
    && rm -r build.rs crates proto
COPY . .
# Cargo compares times, and a checkout may be older than the empty sources.
RUN find . -name '*.rs' -exec touch {} + \
    && cargo build --locked --release --package larder-cli --bin larder --target "$(rustc --print host-tuple)" \
    && mkdir -p /image/etc/ssl/certs /image/tmp /data/larder && chmod 1777 /image/tmp \
    && cp "target/$(rustc --print host-tuple)/release/larder" /image/larder \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=
LABEL org.opencontainers.image.title="larder" \
      org.opencontainers.image.description="A gRPC cache for product catalogues that proves its copies against the database" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /image /
# COPY makes everything root's unless it is told whose: the program writes its SQLite file here.
COPY --from=build --chown=65532:65532 /data /var/lib
# By number, because an empty file system has no /etc/passwd, and Kubernetes cannot tell whether a name is root.
USER 65532:65532
# Only what must be reachable from outside the container leaves loopback; CacheAdmin does not.
ENV LARDER_LISTEN=0.0.0.0:50051 \
    LARDER_DATA_DIR=/var/lib/larder \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
VOLUME /var/lib/larder
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["/larder", "health", "--service", "readiness"]
ENTRYPOINT ["/larder"]
CMD ["serve"]

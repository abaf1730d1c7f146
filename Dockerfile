# The image of Cancelot: one binary, glibc and CA certificates. No shell, no package manager.
#
#   docker build --tag cancelot .
#   docker buildx build --platform linux/amd64,linux/arm64 --tag cancelot .
#
# Each platform builds natively (or emulated), so there is no cross toolchain to keep. Both images
# are Debian 13, so that the binary meets the glibc it was linked against. These are for trying it out:
# releases give both arguments with a digest (image@sha256:...), which makes the build repeatable byte
# for byte, and .ci/publish.sh takes no others.
ARG BUILD_IMAGE=docker.io/library/rust:1.95.0-trixie
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian13:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
# jemalloc takes its page size from the machine that builds it, and aborts where pages are larger:
# arm64 kernels have 4, 16 or 64 KiB. Built for 64 KiB it runs on all of them.
ARG TARGETARCH
ENV CARGO_INCREMENTAL=0
# Has the binary say which crates it is made of, for scanners of images.
RUN cargo install --locked --root target/tools cargo-auditable@0.7.7
COPY . .
# Paths of generated code and of crates get into the binary: remapped, the directory does not change
# a byte of it.
RUN case "${TARGETARCH:-$(uname -m)}" in arm64 | aarch64) export JEMALLOC_SYS_WITH_LG_PAGE=16 ;; esac; \
    export RUSTFLAGS="--remap-path-prefix=$PWD=/src --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"; \
    PATH="$PWD/target/tools/bin:$PATH" cargo auditable build --locked --profile dist --bin cancelot
# A volume takes over the owner of the directory it covers, and the last stage cannot make one.
RUN mkdir -p target/image/data

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cancelot" \
      org.opencontainers.image.description="Ends subscriptions and marketing-sequence enrollments at other companies' APIs: durably, once, and with every doubt settled." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /src/target/dist/cancelot /usr/local/bin/cancelot
COPY --from=build --chown=65532:65532 /src/target/image/data /data
# Numeric, so that Kubernetes can see that it is not root.
USER 65532:65532
# The journal's directory is below the working directory unless the configuration says otherwise.
WORKDIR /data
VOLUME /data
EXPOSE 50051
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/cancelot"]
CMD ["serve", "--config", "/etc/cancelot/cancelot.toml"]

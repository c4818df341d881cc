# The build needs a C compiler, which this image has, and glibc: with musl's small thread stacks C code that Go calls
# can run out of stack.
FROM golang:1.26-bookworm AS build
WORKDIR /src

# Modules change rarely, sources often: a layer of their own.
COPY go.mod go.sum ./
RUN go mod download

COPY . .
ARG VERSION=0.1.0-dev
ARG COMMIT=unknown
ARG DATE=unknown
RUN make build VERSION="$VERSION" COMMIT="$COMMIT" DATE="$DATE" LDFLAGS="-s -w -X main.version=$VERSION -X main.commit=$COMMIT -X main.date=$DATE"
RUN mkdir -p /out/etc/pgdrover

# glibc, as the build has it, CA certificates and an unprivileged user.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* && \
	useradd --system --uid 65532 --no-create-home pgdrover
LABEL org.opencontainers.image.title="pgdrover" \
      org.opencontainers.image.description="A pooler for PostgreSQL that is steered with SQL" \
      org.opencontainers.image.licenses="PostgreSQL"
COPY --from=build /src/pgdrover /usr/local/bin/pgdrover
COPY --from=build /src/LICENSE /usr/share/doc/pgdrover/LICENSE
# Owned by the user that runs: ALTER SYSTEM writes config.auto.toml beside config.toml.
COPY --from=build --chown=pgdrover:pgdrover /out/etc/pgdrover /etc/pgdrover

USER pgdrover
EXPOSE 6432
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
	CMD ["/usr/local/bin/pgdrover", "health", "/etc/pgdrover/config.toml"]
ENTRYPOINT ["/usr/local/bin/pgdrover"]
CMD ["/etc/pgdrover/config.toml"]

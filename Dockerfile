# Each program of BCS in an image of its own: `docker build --target deploy .`, or scripts/images for all of them, also without
# a registry of images: then it makes the base itself, builds on this machine and takes the programs from a folder.
ARG RUST=rust:1.95-bookworm
ARG BASE=debian:bookworm-slim
# Where the programs come from: `build` builds them here, `host` takes those in the folder `programs` of the context.
ARG PROGRAMS=build

# --- building (scripts/images leaves this out where nothing is built here)
FROM ${RUST} AS build
# The second holds messages of Google that those of etcd import, and is only recommended by the first.
RUN apt-get update && apt-get install -y --no-install-recommends protobuf-compiler libprotobuf-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG PROFILE=release
ARG BCS_COMMIT=
ENV CARGO_INCREMENTAL=0
# Told to the build itself, so that `bcs version` knows it. Dependencies and programs are shared by all targets.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    BCS_COMMIT="$BCS_COMMIT" containers/build "$PROFILE" /programs
# --- end of building

FROM scratch AS host
COPY programs /programs/

FROM ${PROGRAMS} AS programs

FROM ${BASE} AS runtime
# Certificates of the authorities that everybody trusts, and `ip`, with which a simulated cluster takes the addresses of its pods.
RUN { command -v ip && [ -e /etc/ssl/certs/ca-certificates.crt ]; } >/dev/null || { apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates iproute2 && rm -rf /var/lib/apt/lists/*; }
# The folder is where a volume goes: a service that keeps its journal in SQLite writes there and nowhere else.
RUN groupadd --gid 10001 bcs && \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/bcs --shell /usr/sbin/nologin bcs && \
    install -d -o bcs -g bcs -m 0700 /var/lib/bcs /clusters
USER 10001:10001
WORKDIR /var/lib/bcs
ARG VERSION=
ARG BCS_COMMIT=
LABEL org.opencontainers.image.title="BCS" \
      org.opencontainers.image.description="Containers on many clusters, and the registries beside them kept right" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${BCS_COMMIT}"

# Where health and metrics are served, inside the container's own network.
FROM runtime AS service
ENV BCS__HEALTH_ADDRESS=0.0.0.0:8080
EXPOSE 8080

FROM service AS cluster
COPY --from=programs /programs/bcs-cluster /usr/bin/
ENTRYPOINT ["bcs-cluster"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s CMD ["bcs-cluster", "--ready"]

FROM service AS deploy
COPY --from=programs /programs/bcs-deploy /usr/bin/
ENTRYPOINT ["bcs-deploy"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s CMD ["bcs-deploy", "--ready"]

FROM service AS network
COPY --from=programs /programs/bcs-network /usr/bin/
ENTRYPOINT ["bcs-network"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s CMD ["bcs-network", "--ready"]

FROM service AS metrics
COPY --from=programs /programs/bcs-metrics /usr/bin/
ENTRYPOINT ["bcs-metrics"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s CMD ["bcs-metrics", "--ready"]

# Its settings are a file: mount one at /etc/bcs/discovery-sidecar.toml.
FROM service AS discovery-sidecar
COPY --from=programs /programs/bcs-discovery-sidecar /usr/bin/
ENTRYPOINT ["bcs-discovery-sidecar"]
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s CMD ["bcs-discovery-sidecar", "--ready"]

# The command line without `bcs up`, and simulated clusters (entrypoint /usr/libexec/bcs/kubesim).
FROM runtime AS bcs
COPY --from=programs /programs/bcs /usr/bin/
COPY containers/kubesim containers/setup containers/secrets /usr/libexec/bcs/
ENV BCS_CONFIG=/tmp/bcs.toml
ENTRYPOINT ["bcs"]
HEALTHCHECK NONE

# No image of a registry has it under a name that everybody trusts, so it comes from Debian.
FROM ${BASE} AS etcd
RUN apt-get update && apt-get install -y --no-install-recommends etcd-server etcd-client && rm -rf /var/lib/apt/lists/* && \
    install -d -o 10001 -g 10001 -m 0700 /var/lib/etcd-data
USER 10001:10001
CMD ["etcd"]

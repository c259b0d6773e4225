# The gateway's image; README.md, "The image", says how to build and run it, and what of this has not been tried.
# Node.js is the version that package-lock.json brings for the tests. Bases are named by tag; to fix their bytes, put @sha256:… behind it.

FROM node:26.10.0-trixie-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund
COPY LICENSE ./
COPY plugins plugins
COPY src src
RUN node src/sbom.ts > sbom.cdx.json
RUN chmod -R a=rX .

# glibc, libstdc++, CA certificates; no shell, no package manager. distroless has a nodejs26-debian13, too, whose Node.js moves by itself:
# it is this base with libatomic1 and Node.js, as are these lines.
FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /usr/lib/*-linux-gnu/libatomic.so.1 /usr/lib/
COPY --from=build /usr/local/bin/node /usr/local/bin/
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/LICENSE /app/package.json /app/sbom.cdx.json ./
COPY --from=build /app/plugins plugins
COPY --from=build /app/src src

ARG VERSION
ARG SOURCE
ARG REVISION
LABEL org.opencontainers.image.title="Passerelle" \
      org.opencontainers.image.description="A high-availability OpenID Connect gateway for public services" \
      org.opencontainers.image.licenses="EUPL-1.2" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}"

# 32 threads look names up: a provider whose name cannot be resolved holds one of them.
ENV NODE_ENV=production UV_THREADPOOL_SIZE=32
USER 65532:65532
EXPOSE 8080 9090
# For engines that look by themselves; Kubernetes asks /livez and /readyz by HTTP. Where operations.port or operations.host is set, give another one or none.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:9090/readyz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "src/server.ts"]

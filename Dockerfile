# syntax=docker/dockerfile:1
# The service as an image: no compiler, no root, nothing that it writes outside of /var/lib/streamdrift.

# The compiled engine. One wheel serves every Python from 3.11 on, so that Debian's own is good enough to build it.
FROM rust:1.90.0-slim-bookworm AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY streamdrift streamdrift
RUN /opt/build/bin/pip wheel --no-deps --wheel-dir /wheels .

FROM python:3.12.11-slim-bookworm AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/streamdrift
ENV PATH=/opt/streamdrift/bin:$PATH
WORKDIR /src
# The packages first: they change seldom, and their layer is kept.
COPY requirements/run.txt requirements/run.txt
RUN pip install --require-hashes -r requirements/run.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps /wheels/*.whl && STREAMDRIFT_ENGINE=compiled streamdrift config check

FROM python:3.12.11-slim-bookworm
LABEL org.opencontainers.image.title="streamdrift" \
      org.opencontainers.image.description="Drift detection that stands beside production models" \
      org.opencontainers.image.licenses="Apache-2.0"
# A numeric user, so that Kubernetes can check runAsNonRoot; the ledger's folder is the only place it may write to.
RUN install -d -o 10001 -g 10001 /var/lib/streamdrift
COPY --from=builder /opt/streamdrift /opt/streamdrift
ENV PATH=/opt/streamdrift/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/streamdrift
EXPOSE 9464
HEALTHCHECK NONE
ENTRYPOINT ["streamdrift"]
CMD ["--help"]

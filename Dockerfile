# bids-group in a container. Build:  docker build -t bids-group .
# The base stands by tag; a release passes tag and digest in as BASE and records them as a label.
ARG BASE=python:3.13-slim-bookworm
ARG UV=ghcr.io/astral-sh/uv:0.9

# hadolint ignore=DL3006
FROM ${UV} AS uv

# ---- the environment: locked packages with hashes, then the wheel of this checkout
# hadolint ignore=DL3006
FROM ${BASE} AS build
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY locks/run.txt locks/run.txt
# Tests of the packages go (numpy's stay: numpy.testing imports from them), what only compilers read, and the symbols of LLVM.
RUN uv venv --python /usr/local/bin/python3 /opt/bids-group \
    && uv pip install --python /opt/bids-group --require-hashes -r locks/run.txt \
    && find /opt/bids-group/lib -depth -type d -name tests -not -path '*/numpy/*' -exec rm -rf {} + \
    && find /opt/bids-group/lib -type f -regex '.*\.\(py[xid]\|[ach]\|[ch]pp\|f90\)' -delete \
    && strip --strip-unneeded /opt/bids-group/lib/python3*/site-packages/llvmlite/binding/libllvmlite.so
COPY pyproject.toml README.md LICENSE ./
COPY bids_group bids_group
COPY container/start.sh /opt/bids-group/bin/start
# One time stamp: numba compares that of a source file with the one it compiled.
RUN uv build --wheel --out-dir dist \
    && uv pip install --python /opt/bids-group --no-deps dist/*.whl \
    && /opt/bids-group/bin/python -c 'import bids_group; print(bids_group.__version__)' > /opt/bids-group/version \
    && find /opt/bids-group/lib -path '*/bids_group/*' -name '*.py' -exec touch -d 2020-01-01 {} +

# ---- what runs
# hadolint ignore=DL3006
FROM ${BASE} AS run
COPY --from=build /opt/bids-group /opt/bids-group
ENV PATH=/opt/bids-group/bin:$PATH \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/tmp/bids-group/numba \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1
RUN --mount=type=bind,source=container/warm.sh,target=/warm.sh /warm.sh && cp /opt/bids-group/version /version
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="bids-group" \
      org.opencontainers.image.description="Group-level analysis of first-level fMRI maps, as a BIDS App" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE}"
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["/opt/bids-group/bin/start"]

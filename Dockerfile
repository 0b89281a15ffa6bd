# bids-group in a container. Build:  docker build -t bids-group .
# The base stands by tag; a release passes its digest in (BASE, see .github/workflows/release.yml) and records it as a label.
ARG BASE=python:3.13-slim-bookworm
ARG UV=ghcr.io/astral-sh/uv:0.9

FROM ${UV} AS uv

# ---- the environment: locked packages with hashes, then the wheel of this checkout
FROM ${BASE} AS build
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1
WORKDIR /src
RUN uv venv --python /usr/local/bin/python3 /opt/bids-group
COPY locks/run.txt locks/run.txt
RUN uv pip install --python /opt/bids-group --require-hashes -r locks/run.txt \
    # what only developers of these packages need
    && for name in matplotlib numba nilearn pandas scipy sklearn; do \
        find /opt/bids-group/lib/python3*/site-packages/$name -depth -type d -name tests -exec rm -rf {} +; done \
    && find /opt/bids-group/lib -name '*.pyx' -delete -o -name '*.pxd' -delete
COPY pyproject.toml README.md LICENSE ./
COPY bids_group bids_group
RUN uv build --wheel --out-dir dist \
    && uv pip install --python /opt/bids-group --no-deps dist/*.whl \
    && /opt/bids-group/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/bids-group/lib \
    && /opt/bids-group/bin/python -c 'import bids_group; print(bids_group.__version__)' > /opt/bids-group/version

# ---- what runs
FROM ${BASE} AS run
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
COPY --from=build /opt/bids-group /opt/bids-group
RUN cp /opt/bids-group/version /version
# Whatever a library caches goes to the temporary folder: the root may be read-only and the user a stranger.
ENV PATH=/opt/bids-group/bin:$PATH \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/bids-group/matplotlib \
    NUMBA_CACHE_DIR=/tmp/bids-group/numba \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1
USER 1000:1000
WORKDIR /tmp
RUN ["/opt/bids-group/bin/bids-group", "--version"]
ENTRYPOINT ["/opt/bids-group/bin/bids-group"]

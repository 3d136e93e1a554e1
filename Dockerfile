# syntax=docker/dockerfile:1
# resnet-cli without a GPU. docs/containers.md says how to build it for one, and how to run it.

# Any Debian or Ubuntu image; Python 3.11 or newer is installed from its packages if it has none.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# Where torch and torchvision come from. The CPU builds are 5 GB smaller than those for GPUs, which the usual index has.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=serve
RUN python3 -c 'import ensurepip' 2>/dev/null \
    || (apt-get update && apt-get install -y --no-install-recommends python3 python3-venv)
RUN python3 -m venv /opt/resnet-cli
ENV PATH=/opt/resnet-cli/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Installed before the source is copied, so that a change of the source does not download them again.
RUN pip install --index-url "${TORCH_INDEX}" torch torchvision
COPY pyproject.toml README.md LICENSE /src/
COPY resnet_cli /src/resnet_cli
RUN pip install "/src[${EXTRAS}]"

FROM ${BASE}
RUN command -v python3 >/dev/null \
    || (apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*)
COPY --from=build /opt/resnet-cli /opt/resnet-cli
# Writable by every user ID, since `docker run --user` can set any.
RUN mkdir -m 1777 /cache /work
ENV PATH=/opt/resnet-cli/bin:$PATH \
    RESNET_CLI_CACHE=/cache TORCH_HOME=/cache/torch HF_HOME=/cache/huggingface MPLCONFIGDIR=/cache/matplotlib
# The cache, and the folder of the data and runs.
VOLUME ["/cache", "/work"]
WORKDIR /work
USER 10001:10001
EXPOSE 8000
# Checks only `serve`, on its default port: every other command is healthy as long as it runs.
HEALTHCHECK --interval=30s --timeout=5s --start-period=2m CMD ["python3", "-c", "\
import http.client, pathlib, sys\n\
if b'serve' not in pathlib.Path('/proc/1/cmdline').read_bytes().split(b'\\0'):\n\
    sys.exit(0)\n\
connection = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4)\n\
connection.request('GET', '/healthz')\n\
sys.exit(connection.getresponse().status != 200)\n"]
ENTRYPOINT ["resnet-cli"]
CMD ["--help"]

# The policy server: `taketwo serve`. Build from the root of the repository; docker/README.md has the commands.
FROM python:3.12.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# The user that the server runs as; it owns the folders that volumes are put over.
ARG UID=1000
RUN useradd --create-home --uid "${UID}" taketwo \
    && install --directory --owner=taketwo --group=taketwo /data /data/outputs \
        /home/taketwo/.cache /home/taketwo/.cache/huggingface

# What changes rarely comes first: pinned packages, extras, and our own code last. A server draws nothing: it needs no GL.
WORKDIR /build
COPY requirements/run.txt requirements/
RUN pip install --no-cache-dir --no-deps --requirement requirements/run.txt

# Such as EXTRAS=lerobot. The package is only its version here, so that code that changes does not bring torch anew.
ARG EXTRAS=""
COPY pyproject.toml README.md LICENSE ./
COPY src/taketwo/__init__.py src/taketwo/
# hadolint ignore=DL3013
RUN if [ -n "${EXTRAS}" ]; then pip install --no-cache-dir ".[${EXTRAS}]"; fi

COPY src src
RUN pip install --no-cache-dir --no-deps --force-reinstall .
COPY docker/with_arguments.sh /usr/local/bin/

USER ${UID}
WORKDIR /data
EXPOSE 8000
CMD ["with_arguments.sh", "SERVER_ARGS", "taketwo", "serve", "--host=0.0.0.0", "--port=8000"]

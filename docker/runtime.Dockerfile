# The runtime: `taketwo run`, with the ALOHA simulator, drawn in software where there is no GPU. Build from the root of the
# repository; docker/README.md has the commands.
FROM python:3.12.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# The user that the session runs as; it owns the folders that volumes are put over.
ARG UID=1000
RUN useradd --create-home --uid "${UID}" taketwo \
    && install --directory --owner=taketwo --group=taketwo /data /data/outputs \
        /home/taketwo/.cache /home/taketwo/.cache/huggingface

# What changes rarely comes first: system libraries, pinned packages, and our own code last.
COPY scripts/install_system_packages.sh /build/scripts/
RUN /build/scripts/install_system_packages.sh && rm -rf /var/lib/apt/lists/*

WORKDIR /build
COPY requirements/run.txt requirements/
RUN pip install --no-cache-dir --no-deps --requirement requirements/run.txt

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --no-deps .
COPY docker/with_arguments.sh /usr/local/bin/

USER ${UID}
WORKDIR /data
CMD ["with_arguments.sh", "RUN_ARGS", "taketwo", "run", "--policy.type=remote", "--policy.host=server"]

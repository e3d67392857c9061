# The workflow with all that it needs, in the versions of requirements.lock (docs/environments.md).
FROM debian:trixie-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

# before the workflow itself, so that changed code does not install gigabytes anew
COPY requirements.lock /opt/slide-survival/
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir -r /opt/slide-survival/requirements.lock

COPY . /opt/slide-survival
RUN /opt/venv/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation \
        --editable /opt/slide-survival \
    && useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin slide-survival \
    && install --directory --owner slide-survival /work

ENV PATH=/opt/venv/bin:$PATH HOME=/tmp
USER slide-survival
WORKDIR /work
ENTRYPOINT ["snakemake", "--snakefile", "/opt/slide-survival/Snakefile"]

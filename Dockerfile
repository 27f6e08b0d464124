# runcast as a container: functions are mounted or copied to /app, runs and files are kept in /data.
#
#   docker build -t runcast .
#   docker run --init -p 8000:8000 -v runcast:/data -e RUNCAST_TOKEN=… runcast
#   docker run --init -p 8000:8000 -v runcast:/data -v "$PWD/hello.py:/app/hello.py:ro" -e RUNCAST_TOKEN=… runcast serve hello.py
#
# --init is recommended: it reaps the processes that functions leave behind.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
# redis for several nodes; add s3 for files in a bucket, or what your functions need.
ARG EXTRAS=fast,redis
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/runcast-*.whl)[${EXTRAS}]" && rm -r /wheels \
    && useradd --create-home --uid 10001 runcast \
    && mkdir /data /app && chown runcast: /data /app
USER runcast
WORKDIR /app
ENV PYTHONUNBUFFERED=1 RUNCAST_STORE=sqlite:////data/runs.db
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
# Listening on all addresses needs a token: set RUNCAST_TOKEN.
CMD ["runcast", "serve", "--host", "0.0.0.0", "--port", "8000"]

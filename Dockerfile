# The wheel and what it needs are installed in one stage; the image has neither pip's cache nor a builder.
FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/tidegate
RUN /opt/tidegate/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements.lock
RUN pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements-build.lock
COPY . ./
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist .
RUN /opt/tidegate/bin/pip install --no-deps --no-index dist/*.whl
RUN /opt/tidegate/bin/pip uninstall --yes pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Tidegate" \
    org.opencontainers.image.description="Keeps your own database in step with Jira, Jenkins and Azure DevOps" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 tidegate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin tidegate \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data
COPY --from=build /opt/tidegate /opt/tidegate
ENV PATH="/opt/tidegate/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    TIDEGATE_DATA_DIR=/data \
    TIDEGATE_HOST=0.0.0.0
WORKDIR /data
USER 10001:10001
VOLUME /data
EXPOSE 8420
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 CMD ["tidegate", "health", "--here"]
ENTRYPOINT ["tidegate"]
CMD ["up"]

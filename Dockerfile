# Two stages: the first resolves and compiles, the second holds Python, the environment and nothing to build with.
# The root may be mounted read-only: byte code is compiled here, and only /var/lib/foresail is written to.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/foresail
# The dependencies are a layer of their own, so that a change of code does not install them again. Wheels only: no compiler.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > requirements.txt \
    && pip --python /opt/foresail/bin/python install --no-cache-dir --no-compile --only-binary :all: \
        --constraint constraints.txt --requirement requirements.txt
COPY README.md LICENSE ./
COPY scaler scaler
COPY forecasting forecasting
COPY rl_agent rl_agent
# Unchecked byte code: valid whatever happens to time stamps between the stages, and one stat less per import.
RUN pip --python /opt/foresail/bin/python install --no-cache-dir --no-compile --no-deps . \
    && /opt/foresail/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/foresail/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="foresail" \
      org.opencontainers.image.description="A KEDA external scaler that forecasts" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/foresail/foresail"
# The base image ships the standard library without byte code, and pip with it: the first is added, the second removed.
# Numeric ids, so that Kubernetes can check runAsNonRoot. /etc/foresail holds empty settings until something is mounted.
RUN python -m pip uninstall --yes --root-user-action ignore pip setuptools wheel \
    && rm -r /usr/local/lib/python3.11/ensurepip \
    && python -m compileall -q --invalidation-mode unchecked-hash -x '/(test|tests|lib2to3|site-packages)/' \
        /usr/local/lib/python3.11 \
    && groupadd --gid 10001 foresail \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/foresail --shell /usr/sbin/nologin foresail \
    && install -d -m 0750 -o 10001 -g 10001 /var/lib/foresail \
    && install -d -m 0755 /etc/foresail \
    && echo '{}' > /etc/foresail/foresail.yaml
COPY --from=build /opt/foresail /opt/foresail

# One thread for linear algebra: the arrays are small, and a second thread that spins takes the core from the workers.
ENV PATH=/opt/foresail/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    FORESAIL_GRPC_LISTEN=0.0.0.0:50051 \
    FORESAIL_HTTP_LISTEN=0.0.0.0:8080 \
    FORESAIL_VAR=/var/lib/foresail \
    FORESAIL_CONFIG=/etc/foresail/foresail.yaml \
    FORESAIL_LOG_FORMAT=json
USER 10001:10001
EXPOSE 50051 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "scaler.probe", "healthz"]
ENTRYPOINT ["foresail"]
CMD ["serve"]

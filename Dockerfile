# A worker for the tasks of a module that is mounted at /app.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/maturin && /opt/maturin/bin/pip install --no-cache-dir 'maturin>=1.16,<2'
WORKDIR /src
COPY Cargo.toml Cargo.lock pyproject.toml README.md LICENSE ./
COPY rust rust
COPY python python
RUN /opt/maturin/bin/maturin build --release --out /dist

FROM python:3.12-slim-bookworm
COPY --from=build /dist /dist
RUN pip install --no-cache-dir "$(ls /dist/*.whl)[redis,cli,metrics,web]" && rm -rf /dist \
    && useradd --create-home celerant
USER celerant
WORKDIR /app
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["celerant"]
CMD ["worker", "--help"]

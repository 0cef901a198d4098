# taskq with the task manager example, for compose.yaml. For an app of your own: its files in place of the example's.

FROM python:3.13-slim AS build
WORKDIR /src
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY taskq taskq
COPY taskq_kafka taskq_kafka
COPY taskq_pytest taskq_pytest
RUN pip install --no-cache-dir --prefix=/install .

FROM python:3.13-slim
RUN useradd --system --uid 10001 taskq
COPY --from=build /install /usr/local
WORKDIR /app
COPY examples/taskmanager ./
USER taskq
# a list, not a shell's line: so it is taskq that gets the signal of `docker stop`, and finishes what runs
ENTRYPOINT ["taskq"]
CMD ["worker"]

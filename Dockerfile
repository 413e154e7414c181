# Runs the README's first command in a container:
#   docker build -t population-sweep .
#   docker run --rm -v "$PWD/outputs:/project/outputs" population-sweep
# The report is then at outputs/reports/latest/report.html.
FROM python:3.13-slim
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /project
COPY pyproject.toml requirements.lock Makefile README.md ./
COPY pipeline pipeline
COPY hydra_plugins hydra_plugins
COPY conf conf
RUN make setup
CMD ["make", "sweep"]

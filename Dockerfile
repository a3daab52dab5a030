# The chat page in a container, for a laptop, a GPU host or a Docker Space; docs/hosting.md says how to start it.
# Its commands were tried one by one; the image itself was not built where this was written, for want of a Docker engine.

# The Python that constraints.txt was written with.
FROM python:3.11-slim

# Spaces run containers as user 1000, too.
RUN useradd --create-home --uid 1000 chat && install -d -o chat -g chat -m 700 /data /cache
WORKDIR /app

# Before the program, so that a change of the program does not install everything again.
COPY requirements.txt requirements-quantization.txt requirements-mcp.txt constraints.txt ./
# --build-arg PIP_EXTRA_INDEX_URL=… with PyTorch's CPU index saves a GPU-less host the CUDA packages.
ARG PIP_EXTRA_INDEX_URL=
# --build-arg EXTRAS="-r requirements-quantization.txt" for a GPU of 12 or 16 GB, requirements-mcp.txt for --mcp.
ARG EXTRAS=
RUN pip install --no-cache-dir -r requirements.txt $EXTRAS -c constraints.txt

COPY . .

USER chat
ENV PYTHONUNBUFFERED=1 \
    NEXTGPT_HOST=0.0.0.0 \
    NEXTGPT_PORT=7860 \
    NEXTGPT_DATA_DIR=/data \
    HF_HOME=/cache
VOLUME /data
EXPOSE 7860
# The page is up before the model is loaded: /readyz would call a container that still loads unhealthy.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
# An interrupt ends the program in order; a process 1 ignores the usual SIGTERM.
STOPSIGNAL SIGINT
ENTRYPOINT ["python", "app.py"]

# docker build --target cpu  -t spectacles .
# docker build --target cuda -t spectacles .        (run with --gpus all)

FROM python:3.11-slim AS build
RUN python -m venv /opt/spectacles
ENV PATH=/opt/spectacles/bin:$PATH PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./

# PyTorch first, in a layer of its own: it is by far the largest, and changes seldom.
FROM build AS build-cpu
# Its own index of CPU builds; the usual one would bring 3 GB of CUDA along.
RUN pip install --index-url https://download.pytorch.org/whl/cpu torch==2.13.0
COPY bot bot
COPY spectacles_engine spectacles_engine
RUN pip install ".[cpu]"

FROM build AS build-cuda
RUN pip install torch==2.13.0
COPY bot bot
COPY spectacles_engine spectacles_engine
RUN pip install ".[gpu]"

FROM python:3.11-slim AS runtime
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 spectacles \
    && install --directory --owner spectacles --mode 1777 /data
ENV PATH=/opt/spectacles/bin:$PATH PYTHONUNBUFFERED=1 SPECTACLES_DATA_DIR=/data
COPY run_bot.py config.yaml /app/
USER spectacles
VOLUME /data
WORKDIR /data
ENTRYPOINT ["tini", "--", "python", "/app/run_bot.py"]

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/spectacles /opt/spectacles

FROM runtime AS cpu
COPY --from=build-cpu /opt/spectacles /opt/spectacles

# A container with perser and its server:
#
#     docker build -t perser .
#     docker run --rm -e PERSER_TOKEN=... -p 8000:8000 -v ./models:/models:ro -v ./profiles:/profiles perser \
#         serve --model /models/speech-lm --profiles /profiles --host 0.0.0.0
#
# Any other command of perser may stand in place of `serve ...`.
FROM python:3.12-slim

# FFmpeg's libraries decode what soundfile cannot, such as m4a.
RUN apt-get update && apt-get install -y --no-install-recommends ffmpeg && rm -rf /var/lib/apt/lists/*

WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY perser perser
COPY meta_perser meta_perser
COPY speechlm_icl speechlm_icl
COPY benchmarks benchmarks
RUN pip install --no-cache-dir '.[serve,demo]' -c constraints.txt

RUN useradd --create-home perser && mkdir /profiles && chown perser /profiles
USER perser
WORKDIR /home/perser
EXPOSE 8000
ENTRYPOINT ["perser"]
CMD ["--help"]

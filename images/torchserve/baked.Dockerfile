# The image of the Dockerfile beside this one, with a model inside. The context is a folder staged in the format mar:
#
#   docker build --tag torchserve images/torchserve
#   docker build --file images/torchserve/baked.Dockerfile --build-arg SERVER=torchserve FOLDER
ARG SERVER=torchserve
FROM ${SERVER}
COPY --chown=0:0 . /mnt/models
USER 0
RUN chmod -R a+rX /mnt/models
USER 65532:65532
ENV MODEL_PATH=/mnt/models

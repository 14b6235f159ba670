# One command for each thing a developer does. `make check` sets everything up and does them all.
SHELL := /bin/bash
PYTHON := . launch/environment.sh && find_python && ensure_installed "offline,test" && "$$ENVIRONMENT/bin/python"

.PHONY: check lint types imports test fuzz faults mutants format gpu-test gpu-wheels clean

check: lint types imports test

lint:            ## style and common mistakes
	@$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

types:           ## mypy, strict, for the package
	@$(PYTHON) -m mypy

imports:         ## the layers: imports go one way
	@$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

test:            ## the test suite; REDHEART_REAL_DATA names a folder of real annotated data, if there is one
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_OPTIONS)

fuzz:            ## random datasets, command lines, settings and environments: REDHEART_FUZZ of them, new ones each time
	@OMP_NUM_THREADS=1 REDHEART_FUZZ=$${REDHEART_FUZZ:-20000} $(PYTHON) -m pytest tests/fuzz $(PYTEST_OPTIONS)

faults:          ## faults of saving and going on, all of them: kills at each file operation, 30 random interruptions, every engine from what every other left, a state of an old version
	@folder="$$(mktemp -d)" && OMP_NUM_THREADS=1 $(PYTHON) -m tests.checkpoint.killed_at_each "$$folder" $(FAULTS) && rm -r "$$folder"
	@OMP_NUM_THREADS=1 $(PYTHON) -m tests.integration.interruptions $(INTERRUPTIONS)
	@OMP_NUM_THREADS=1 $(PYTHON) -m tests.integration.resume_matrix
	@OMP_NUM_THREADS=1 $(PYTHON) -m tests.integration.out_of_memory
	@OMP_NUM_THREADS=1 REDHEART_FAULTS=1 $(PYTHON) -m pytest tests/old_runs $(PYTEST_OPTIONS)

mutants:         ## plants a hundred faults, one at a time, and counts those that the tests find; MUTANTS="--count 20 --seed 3 redheart/sweep"
	@. launch/environment.sh && find_python && ensure_installed "offline,test,mutants" && "$$ENVIRONMENT/bin/python" -m tests.mutants --reach .reach $(MUTANTS)

format:          ## rewrite the code in the project's format
	@$(PYTHON) -m ruff check --fix . ; $(PYTHON) -m ruff format .

gpu-test:        ## what only a CUDA device can show; PYTHON=python3 takes that Python as it is and installs nothing
	@$(PYTHON) -m pytest tests/gpu -m gpu -v -rA --durations=0

gpu-wheels:      ## what a bare machine with a GPU lacks for benchmarks/gpu_all.sh, into .gpu; GPU_PYTHON=3.12 is the Python there
	@. launch/environment.sh && find_python && ensure_installed "offline,test" && PYTHON="$$ENVIRONMENT/bin/python" bash benchmarks/gpu_wheels.sh

clean:           ## what is made, not what is written
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

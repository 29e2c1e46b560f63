# Thin fronts for `visionjobs ...` (see README.md). Bare `make` lists the targets.

PYTHON ?= python3
LAYOUT ?= wildlife

BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo install test test-slow lint format run ray-up ray-down dashboard data runs describe report compare \
  reproduce evaluate predict export bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## from nothing to a report: install, draw a sample dataset, train the ConvNet on it
	@$(BIN)/visionjobs run convnet --sample

install: $(INSTALLED)  ## create .venv and install everything (again only when the requirements change)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=/path/to/python3.11 ...)" >&2; exit 2; }
	@echo "Installing into .venv: about 7 GB, a few minutes" >&2
	@$(PYTHON) -m venv .venv >&2
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]' >&2
	@touch $@

test: lint  ## lint and the fast tests
	@$(BIN)/python -m pytest

test-slow: $(INSTALLED)  ## the long integration tests
	@$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(INSTALLED)  ## let ruff put the code into form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

run: need-JOB $(INSTALLED)  ## train: JOB=resnet, and if wanted SAMPLE=1, RUN=id to continue, SET="train.epochs=3 data.size=[64,64]"
	@$(BIN)/visionjobs run '$(JOB)' $(if $(SAMPLE),--sample) $(if $(RUN),--run '$(RUN)') $(foreach item,$(SET),--set '$(item)')

ray-up: $(INSTALLED)  ## start a local Ray that stays up, with its dashboard
	@$(BIN)/visionjobs ray-up

ray-down: $(INSTALLED)  ## stop it
	@$(BIN)/visionjobs ray-down

dashboard: $(INSTALLED)  ## print its dashboard's address
	@$(BIN)/visionjobs dashboard

data: need-SOURCE $(INSTALLED)  ## import a dataset: SOURCE=folder, archive or s3://..., and if wanted NAME=, LAYOUT=camvid
	@$(BIN)/visionjobs data import '$(LAYOUT)' '$(SOURCE)' $(if $(NAME),--name '$(NAME)')

runs: $(INSTALLED)  ## list the runs in storage
	@$(BIN)/visionjobs runs

describe: need-JOB $(INSTALLED)  ## show a job with all its defaults and what its model costs: JOB=resnet
	@$(BIN)/visionjobs describe '$(JOB)' $(foreach item,$(SET),--set '$(item)')

report: need-RUN $(INSTALLED)  ## build a run's report again, from its folder alone: RUN=id
	@$(BIN)/visionjobs report '$(RUN)'

compare: need-RUNS $(INSTALLED)  ## runs side by side on one page: RUNS="id id ..."
	@$(BIN)/visionjobs compare $(foreach run,$(RUNS),'$(run)')

reproduce: $(INSTALLED)  ## one table of published against ours for all jobs, running what has no finished run; JOBS=a,b SAMPLE=1
	@$(BIN)/visionjobs reproduce $(if $(JOBS),--jobs '$(JOBS)') $(if $(SAMPLE),--sample) $(foreach item,$(SET),--set '$(item)')

evaluate: need-RUN $(INSTALLED)  ## evaluate a finished run's weights again: RUN=id, and if wanted SPLIT=all, DATA=dataset
	@$(BIN)/visionjobs evaluate '$(RUN)' $(if $(SPLIT),--split '$(SPLIT)') $(if $(DATA),--data '$(DATA)')

predict: need-RUN need-IMAGES $(INSTALLED)  ## label images with a finished run: RUN=id IMAGES="files, folders or s3://..."
	@$(BIN)/visionjobs predict '$(RUN)' $(foreach image,$(IMAGES),'$(image)')

export: need-RUN $(INSTALLED)  ## write a finished run's model as FORMAT=onnx (if not given) or torchscript: RUN=id
	@$(BIN)/visionjobs export '$(RUN)' --format '$(or $(FORMAT),onnx)'

bench: $(INSTALLED)  ## measure side by side, about 45 minutes; into benchmarks/results/ and the README; ONLY=a,c for some
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only '$(ONLY)')

clean:  ## delete caches and build outputs; .venv and the storage folder stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

need-JOB:
	$(if $(JOB),,$(error give JOB=NAME, one of: $(basename $(notdir $(wildcard jobs/*.yaml)))))

need-RUN:
	$(if $(RUN),,$(error give RUN=ID; `make runs` lists the runs))

need-RUNS:
	$(if $(RUNS),,$(error give RUNS="ID ID ..."; `make runs` lists the runs))

need-IMAGES:
	$(if $(IMAGES),,$(error give IMAGES="files, folders or s3:// addresses"))

need-SOURCE:
	$(if $(SOURCE),,$(error give SOURCE=a folder (of LAYOUT=wildlife: one subfolder a class), an archive of it, or s3://bucket/prefix))

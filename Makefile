# Thin fronts for `visionjobs ...` (see README.md). Bare `make` lists the targets.

PYTHON ?= python3
LAYOUT ?= wildlife
ENGINE ?= podman
VARIANT ?= cuda

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown)
IMAGE_HERE = visionjobs:$(VERSION)-$(REVISION)$(if $(filter cpu,$(VARIANT)),-cpu)
secret = --secret 'id=$(1),src=$(2)'

OVERLAYS = $(notdir $(patsubst %/,%,$(sort $(wildcard k8s/cluster/overlays/*/))))

BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo install test test-slow lint format run sweep ray-up ray-down dashboard logs cancel data runs status describe \
  report compare reproduce evaluate predict export bench image push test-image cluster-install submit doctor render manifests clean

help:  ## list the targets
	@awk -F ':.*## ' '/^### / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / && $$1 != "help" { printf "  make %-15s %s\n", $$1, $$2 } \
	  END { print "\n[...] may be left out. More: README.md, and .venv/bin/visionjobs VERB --help" }' $(MAKEFILE_LIST)

### On this machine

demo: $(INSTALLED)  ## install, draw a sample dataset, train on it, report
	@$(BIN)/visionjobs run convnet --sample

install: $(INSTALLED)  ## create .venv and install everything in it (about 7 GB)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=/path/to/python3.11 ...)" >&2; exit 2; }
	@echo "Installing into .venv: about 7 GB, a few minutes" >&2
	@$(PYTHON) -m venv .venv >&2
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]' >&2
	@touch $@

data: need-SOURCE $(INSTALLED)  ## import SOURCE=folder, archive or s3://  [NAME= LAYOUT=]
	@$(BIN)/visionjobs data import '$(LAYOUT)' '$(SOURCE)' $(if $(NAME),--name '$(NAME)')

describe: need-JOB $(INSTALLED)  ## a job's settings and its model's cost: JOB=resnet  [SET=]
	@$(BIN)/visionjobs describe '$(JOB)' $(foreach item,$(SET),--set '$(item)')

run: need-JOB $(INSTALLED)  ## train: JOB=resnet  [SAMPLE=1 RUN=id SET="train.epochs=3"]
	@$(BIN)/visionjobs run '$(JOB)' $(if $(SAMPLE),--sample) $(if $(RUN),--run '$(RUN)') $(foreach item,$(SET),--set '$(item)')

sweep: need-JOB $(INSTALLED)  ## search: JOB=convnet  [SAMPLE=1 SAMPLES=8 SWEEP=id SET=]
	@$(BIN)/visionjobs sweep '$(JOB)' $(if $(SAMPLE),--sample) $(if $(SAMPLES),--samples '$(SAMPLES)') \
	  $(if $(or $(SWEEP),$(RUN)),--sweep '$(or $(SWEEP),$(RUN))') $(foreach item,$(SET),--set '$(item)')

runs: $(INSTALLED)  ## list the runs and sweeps in storage
	@$(BIN)/visionjobs runs

report: need-RUN $(INSTALLED)  ## a run's report, again: RUN=id  [OUT=folder for a copy]
	@$(BIN)/visionjobs report '$(RUN)' $(if $(OUT),--out '$(OUT)')

compare: need-RUNS $(INSTALLED)  ## runs side by side on one page: RUNS="id id ..."
	@$(BIN)/visionjobs compare $(foreach run,$(RUNS),'$(run)')

reproduce: $(INSTALLED)  ## published against ours, all jobs  [JOBS=a,b SAMPLE=1]
	@$(BIN)/visionjobs reproduce $(if $(JOBS),--jobs '$(JOBS)') $(if $(SAMPLE),--sample) $(foreach item,$(SET),--set '$(item)')

evaluate: need-RUN $(INSTALLED)  ## evaluate a finished run again: RUN=id  [SPLIT=all DATA=]
	@$(BIN)/visionjobs evaluate '$(RUN)' $(if $(SPLIT),--split '$(SPLIT)') $(if $(DATA),--data '$(DATA)')

predict: need-RUN need-IMAGES $(INSTALLED)  ## label images: RUN=id IMAGES="files, folders or s3://..."
	@$(BIN)/visionjobs predict '$(RUN)' $(foreach image,$(IMAGES),'$(image)')

export: need-RUN $(INSTALLED)  ## write a run's model: RUN=id  [FORMAT=onnx or torchscript]
	@$(BIN)/visionjobs export '$(RUN)' --format '$(or $(FORMAT),onnx)'

ray-up: $(INSTALLED)  ## start a local Ray that stays up, with its dashboard
	@$(BIN)/visionjobs ray-up

ray-down: $(INSTALLED)  ## stop it
	@$(BIN)/visionjobs ray-down

dashboard: $(INSTALLED)  ## Ray's dashboard, here or of a job: RUN=id  [PORT=]
	@$(BIN)/visionjobs dashboard $(if $(RUN),'$(RUN)') $(if $(PORT),--port '$(PORT)')

### On a cluster

cluster-install: need-cluster  ## once per cluster, as its administrator  [OVERLAY=kueue]
	@echo "Into the cluster of the context $$(kubectl config current-context):" >&2
	@kubectl apply -k k8s/cluster$(if $(OVERLAY),/overlays/$(OVERLAY))

image: need-ENGINE  ## build the container image  [IMAGE= ENGINE= VARIANT=cpu]
	@$(ENGINE) build --file docker/Dockerfile --tag '$(or $(IMAGE),$(IMAGE_HERE))' \
	  --build-arg VARIANT='$(VARIANT)' --build-arg VERSION='$(VERSION)' --build-arg REVISION='$(REVISION)' \
	  --build-arg RAY_VERSION="$$(sed -n 's/^ray==//p' constraints.txt)" \
	  $(if $(BASE),--build-arg BASE='$(BASE)') $(if $(TORCH_INDEX),--build-arg TORCH_INDEX='$(TORCH_INDEX)') \
	  $(if $(PIP_CONF),$(call secret,pip,$(PIP_CONF))) $(if $(CA_BUNDLE),$(call secret,ca,$(CA_BUNDLE))) \
	  $(BUILD_ARGS) . >&2
	@echo '$(or $(IMAGE),$(IMAGE_HERE))'

push: need-ENGINE need-IMAGE  ## push it: IMAGE=REGISTRY/visionjobs:TAG, as it was built
	@$(ENGINE) push '$(IMAGE)'

doctor: $(INSTALLED)  ## check machine, storage, cluster  [JOB=deeplab SAMPLE=1]
	@$(BIN)/visionjobs doctor $(if $(JOB),'$(JOB)') $(if $(SAMPLE),--sample) \
	  $(if $(BACKEND),--backend '$(BACKEND)') $(foreach item,$(SET),--set '$(item)')

submit: need-WORK $(INSTALLED)  ## JOB=deeplab [SAMPLE=1 RUN= SWEEP=1], EVALUATE=, IMPORT=
	@$(BIN)/visionjobs submit $(if $(IMPORT),'$(SOURCE)',$(if $(JOB),'$(JOB)')) $(if $(RUN),--run '$(RUN)') \
	  $(if $(IMPORT),--import '$(IMPORT)' $(if $(NAME),--name '$(NAME)')) \
	  $(if $(EVALUATE),--evaluate '$(EVALUATE)' $(if $(SPLIT),--split '$(SPLIT)') $(if $(DATA),--data '$(DATA)')) \
	  $(if $(SWEEP),$(if $(filter sweep-%,$(SWEEP)),--run '$(SWEEP)',--sweep)) $(if $(SAMPLES),--samples '$(SAMPLES)') \
	  $(if $(SAMPLE),--sample) \
	  $(if $(BACKEND),--backend '$(BACKEND)') $(if $(ADDRESS),--address '$(ADDRESS)') \
	  $(if $(WAIT),--wait) $(if $(DRY_RUN),--dry-run) $(if $(NO_CODE),--no-code) $(foreach item,$(SET),--set '$(item)')

status: $(INSTALLED)  ## where runs are, and what they wait for  [RUN=id WATCH=1]
	@$(BIN)/visionjobs status $(if $(RUN),'$(RUN)') $(if $(WATCH),--watch)

logs: need-RUN $(INSTALLED)  ## follow what a job prints: RUN=id  [ATTEMPT=2 POD= ALL=1]
	@$(BIN)/visionjobs logs '$(RUN)' $(if $(ATTEMPT),--attempt '$(ATTEMPT)',--follow) $(if $(POD),--pod '$(POD)') \
	  $(if $(ALL),--all)

cancel: need-RUN $(INSTALLED)  ## end a job, with a checkpoint: RUN=id  [NOW=1 GRACE=]
	@$(BIN)/visionjobs cancel '$(RUN)' $(if $(NOW),--now) $(if $(GRACE),--grace '$(GRACE)')

render: need-JOB $(INSTALLED)  ## print a job's manifests: JOB=  [SWEEP=1 NO_CODE=1]
	@$(BIN)/visionjobs render '$(JOB)' $(if $(SWEEP),--sweep) $(if $(SAMPLES),--samples '$(SAMPLES)') \
	  $(if $(BACKEND),--backend '$(BACKEND)') $(if $(SAMPLE),--sample) \
	  $(if $(NO_CODE),--no-code) $(foreach item,$(SET),--set '$(item)')

manifests: $(INSTALLED)  ## every job's, for GitOps  [SWEEP=1 OUT= SUFFIX=2 SET=]
	@$(BIN)/visionjobs manifests $(if $(SWEEP),--sweep) $(if $(OUT),--out '$(OUT)') $(if $(BACKEND),--backend '$(BACKEND)') \
	  $(if $(SUFFIX),--run-id-suffix '$(SUFFIX)') $(foreach item,$(SET),--set '$(item)')

### Development

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

test-image: $(INSTALLED)  ## build the image, or take IMAGE=, and run a job in it
	@$(BIN)/python docker/test_image.py '$(or $(IMAGE),$(IMAGE_HERE))' $(if $(IMAGE),,--build) --engine '$(ENGINE)'

bench: $(INSTALLED)  ## measure side by side, about 55 minutes  [ONLY=a,c]
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only '$(ONLY)')

clean:  ## delete caches and build outputs, not .venv and storage
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

need-JOB:
	$(if $(JOB),,$(error give JOB=NAME, one of: $(basename $(notdir $(wildcard jobs/*.yaml)))))

need-WORK:
	$(if $(and $(JOB),$(IMPORT)),$(error give JOB= or IMPORT=, not both))
	$(if $(and $(IMPORT),$(if $(SOURCE),,none)),$(error give SOURCE=s3://bucket/prefix, where the raw files of IMPORT=$(IMPORT) are))
	$(if $(or $(JOB),$(RUN),$(EVALUATE),$(IMPORT),$(filter sweep-%,$(SWEEP))),,$(error give JOB=NAME, one of: $(basename $(notdir $(wildcard jobs/*.yaml))); or RUN=ID to continue one, EVALUATE=ID, or IMPORT=LAYOUT SOURCE=s3://...))

need-RUN:
	$(if $(RUN),,$(error give RUN=ID; `make runs` lists the runs))

need-RUNS:
	$(if $(RUNS),,$(error give RUNS="ID ID ..."; `make runs` lists the runs))

need-IMAGES:
	$(if $(IMAGES),,$(error give IMAGES="files, folders or s3:// addresses"))

need-SOURCE:
	$(if $(SOURCE),,$(error give SOURCE=a folder (of LAYOUT=wildlife: one subfolder a class), an archive of it, or s3://bucket/prefix))

need-ENGINE:
	@command -v '$(ENGINE)' >/dev/null || { echo "ENGINE=$(ENGINE) is not installed; give ENGINE=podman, docker or buildah" >&2; exit 2; }

need-IMAGE:
	$(if $(findstring /,$(IMAGE)),,$(error give IMAGE=REGISTRY/NAME:TAG, the name that `make image IMAGE=...` built))

need-cluster:
	$(if $(or $(if $(OVERLAY),,none),$(filter $(OVERLAY),$(OVERLAYS))),,$(error OVERLAY=$(OVERLAY): expected one of $(OVERLAYS)))
	@command -v kubectl >/dev/null || { echo "kubectl is not installed; it comes with your cluster's tools" >&2; exit 2; }
	@answer=$$(kubectl --request-timeout=20s get --raw /version 2>&1) || \
	  { echo "no cluster answers: $$answer" >&2; echo "Set KUBECONFIG or the context: kubectl config get-contexts" >&2; exit 2; }

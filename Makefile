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
.PHONY: help demo install test test-slow lint format run ray-up ray-down dashboard logs cancel data runs status describe \
  report compare reproduce evaluate predict export bench image push test-image cluster-install submit doctor render manifests clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

data: need-SOURCE $(INSTALLED)  ## import a dataset: SOURCE=folder, archive or s3://..., and if wanted NAME=, LAYOUT=camvid
	@$(BIN)/visionjobs data import '$(LAYOUT)' '$(SOURCE)' $(if $(NAME),--name '$(NAME)')

describe: need-JOB $(INSTALLED)  ## show a job with all its defaults and what its model costs: JOB=resnet
	@$(BIN)/visionjobs describe '$(JOB)' $(foreach item,$(SET),--set '$(item)')

run: need-JOB $(INSTALLED)  ## train: JOB=resnet, and if wanted SAMPLE=1, RUN=id to continue, SET="train.epochs=3 data.size=[64,64]"
	@$(BIN)/visionjobs run '$(JOB)' $(if $(SAMPLE),--sample) $(if $(RUN),--run '$(RUN)') $(foreach item,$(SET),--set '$(item)')

runs: $(INSTALLED)  ## list the runs in storage
	@$(BIN)/visionjobs runs

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

ray-up: $(INSTALLED)  ## start a local Ray that stays up, with its dashboard
	@$(BIN)/visionjobs ray-up

ray-down: $(INSTALLED)  ## stop it
	@$(BIN)/visionjobs ray-down

dashboard: $(INSTALLED)  ## print its dashboard's address; of a job on the cluster, RUN=id, keep a port-forward open, PORT=
	@$(BIN)/visionjobs dashboard $(if $(RUN),'$(RUN)') $(if $(PORT),--port '$(PORT)')

doctor: $(INSTALLED)  ## look at this machine, the storage and the cluster, and say what to do; JOB=deeplab: at what it needs too
	@$(BIN)/visionjobs doctor $(if $(JOB),'$(JOB)') $(foreach item,$(SET),--set '$(item)')

submit: need-JOB $(INSTALLED)  ## train on a cluster: JOB=deeplab, and if wanted RUN=id to continue, SAMPLE=1, SET=, BACKEND=job, WAIT=1, DRY_RUN=1
	@$(BIN)/visionjobs submit '$(JOB)' $(if $(RUN),--run '$(RUN)') $(if $(SAMPLE),--sample) \
	  $(if $(BACKEND),--backend '$(BACKEND)') $(if $(WAIT),--wait) $(if $(DRY_RUN),--dry-run) \
	  $(if $(NO_CODE),--no-code) $(foreach item,$(SET),--set '$(item)')

status: $(INSTALLED)  ## where runs are, how far, and what they wait for; of one RUN=id, WATCH=1 until it ends
	@$(BIN)/visionjobs status $(if $(RUN),'$(RUN)') $(if $(WATCH),--watch)

logs: need-RUN $(INSTALLED)  ## follow what a job prints: RUN=id; of one ATTEMPT=2 of it, of POD=name, ALL=1 of all pods
	@$(BIN)/visionjobs logs '$(RUN)' $(if $(ATTEMPT),--attempt '$(ATTEMPT)',--follow) $(if $(POD),--pod '$(POD)') \
	  $(if $(ALL),--all)

cancel: need-RUN $(INSTALLED)  ## end a job with a checkpoint, so that it can be continued: RUN=id, NOW=1 without waiting for one
	@$(BIN)/visionjobs cancel '$(RUN)' $(if $(NOW),--now) $(if $(GRACE),--grace '$(GRACE)')

render: need-JOB $(INSTALLED)  ## print a job's manifests for a cluster: JOB=deeplab, and if wanted BACKEND=job, SAMPLE=1, SET=
	@$(BIN)/visionjobs render '$(JOB)' $(if $(BACKEND),--backend '$(BACKEND)') $(if $(SAMPLE),--sample) \
	  $(foreach item,$(SET),--set '$(item)')

manifests: $(INSTALLED)  ## write every job's YAML for kubectl apply or GitOps: OUT=manifests, and if wanted BACKEND=job, SUFFIX=2
	@$(BIN)/visionjobs manifests $(if $(OUT),--out '$(OUT)') $(if $(BACKEND),--backend '$(BACKEND)') \
	  $(if $(SUFFIX),--run-id-suffix '$(SUFFIX)')

cluster-install: need-cluster  ## once per cluster, as its administrator: k8s/cluster, or OVERLAY=one-gpu, multi-gpu or kueue
	@echo "Into the cluster of the context $$(kubectl config current-context):" >&2
	@kubectl apply -k k8s/cluster$(if $(OVERLAY),/overlays/$(OVERLAY))

image: need-ENGINE  ## build the container image; README tells of ENGINE=docker, IMAGE=, VARIANT=cpu, BASE=, BUILD_ARGS=
	@$(ENGINE) build --file docker/Dockerfile --tag '$(or $(IMAGE),$(IMAGE_HERE))' \
	  --build-arg VARIANT='$(VARIANT)' --build-arg VERSION='$(VERSION)' --build-arg REVISION='$(REVISION)' \
	  --build-arg RAY_VERSION="$$(sed -n 's/^ray==//p' constraints.txt)" \
	  $(if $(BASE),--build-arg BASE='$(BASE)') $(if $(TORCH_INDEX),--build-arg TORCH_INDEX='$(TORCH_INDEX)') \
	  $(if $(PIP_CONF),$(call secret,pip,$(PIP_CONF))) $(if $(CA_BUNDLE),$(call secret,ca,$(CA_BUNDLE))) \
	  $(BUILD_ARGS) . >&2
	@echo '$(or $(IMAGE),$(IMAGE_HERE))'

push: need-ENGINE need-IMAGE  ## push the image: IMAGE=REGISTRY/visionjobs:TAG, as it was built
	@$(ENGINE) push '$(IMAGE)'

test-image: $(INSTALLED)  ## build the image, or take IMAGE=, and run the sample ConvNet job in it, with podman
	@$(BIN)/python docker/test_image.py '$(or $(IMAGE),$(IMAGE_HERE))' $(if $(IMAGE),,--build) --engine '$(ENGINE)'

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

need-ENGINE:
	@command -v '$(ENGINE)' >/dev/null || { echo "ENGINE=$(ENGINE) is not installed; give ENGINE=podman, docker or buildah" >&2; exit 2; }

need-IMAGE:
	$(if $(findstring /,$(IMAGE)),,$(error give IMAGE=REGISTRY/NAME:TAG, the name that `make image IMAGE=...` built))

need-cluster:
	$(if $(or $(if $(OVERLAY),,none),$(filter $(OVERLAY),$(OVERLAYS))),,$(error OVERLAY=$(OVERLAY): expected one of $(OVERLAYS)))
	@command -v kubectl >/dev/null || { echo "kubectl is not installed; it comes with your cluster's tools" >&2; exit 2; }
	@answer=$$(kubectl --request-timeout=20s get --raw /version 2>&1) || \
	  { echo "no cluster answers: $$answer" >&2; echo "Set KUBECONFIG or the context: kubectl config get-contexts" >&2; exit 2; }

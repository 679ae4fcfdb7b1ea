# medres: `make` lists the targets.
STUDY ?= demo
VENV := .venv
PYTHON := $(VENV)/bin/python
# A mark made after a whole installation: a broken one is done again.
READY := $(VENV)/.ready
# Names reach commands through the environment, where no shell reads them.
export STUDY REPAIR THIN PROFILE GPU GPUS TABLE MODEL NAME MARGIN LADDER REVISION PRICE HOURLY SET PLAN

.DEFAULT_GOAL := help
.PHONY: help study status plan thin choose test faults lint smoke smoke-families lab clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

study: $(READY) ## make a study's runs and reports: make study STUDY=demo; REPAIR=1 remakes damaged runs; PROFILE=slurm
	@$(PYTHON) -m medres.make "$$STUDY" $(if $(filter 1,$(REPAIR)),--repair) $${PROFILE:+--profile "$$PROFILE"} $${GPU:+--gpu "$$GPU"}

status: $(READY) ## say how far a study is, while it is made and from any machine: make status STUDY=demo
	@$(PYTHON) -m medres.status "$$STUDY"

thin: $(READY) ## say what disk of a study no result needs: make thin STUDY=demo; THIN=1 removes it
	@$(PYTHON) -m medres.thin "$$STUDY" $(if $(filter 1,$(THIN)),--yes)

plan: $(READY) ## say what a study costs before it starts: make plan STUDY=demo GPU=H200 GPUS=8
	@$(PYTHON) -m medres.plan "$$STUDY" $${GPU:+--gpu "$$GPU"} $${GPUS:+--gpus "$$GPUS"}

choose: $(READY) ## say which resolution suffices: make choose TABLE=questions.csv MODEL=...; PLAN=1 says what it takes
	@$(PYTHON) -m medres.choose $${NAME:+"--name=$$NAME"} $${MARGIN:+"--margin=$$MARGIN"} $${LADDER:+"--ladder=$$LADDER"} \
		$${REVISION:+"--revision=$$REVISION"} $${PRICE:+"--price=$$PRICE"} $${HOURLY:+"--hourly=$$HOURLY"} $${GPU:+"--gpu=$$GPU"} \
		$${SET:+"--set=$$SET"} $${PLAN:+--plan} -- "$$TABLE" "$$MODEL"

test: $(READY) ## run all tests
	$(PYTHON) -m pytest -n auto --dist loadfile --no-loadscope-reorder

faults: $(READY) ## kill, signal and damage a small study in every way we know: the same bytes, nothing lost
	$(PYTHON) -m tests.faults

smoke: $(READY) ## run every notebook on a handful of images
	@$(PYTHON) -m medres.make smoke

smoke-families: $(READY) ## train and evaluate the tiny model of every family on a handful of images
	@$(PYTHON) -m medres.make smoke-families

lint: $(READY) ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

lab: $(READY) ## open JupyterLab on the notebooks
	$(VENV)/bin/jupyter lab --notebook-dir .

clean: $(READY) ## remove the runs of a study, its reports stay: make clean STUDY=smoke
	@$(PYTHON) -m medres.study check "$$STUDY" && rm -rf "runs/$$STUDY"

# torch first and alone: with it in place nothing asks for a build with CUDA.
$(READY): requirements.txt pyproject.toml
	python3 -c 'import sys; assert sys.version_info >= (3, 11), f"medres needs Python 3.11, this is {sys.version.split()[0]}"'
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet $$(grep '^torch==' requirements.txt)
	$(PYTHON) -m pip install --quiet -r requirements.txt
	$(PYTHON) -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

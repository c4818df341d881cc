# What can be done here. The tests, the demo and the benchmark start PostgreSQL themselves, and install it with apt
# where it is missing and they may. PG=14 … PG=18 asks for one major version.

VERSION  ?= $(or $(shell git describe --tags --dirty 2>/dev/null),0.1.0-dev)
COMMIT   ?= $(or $(shell git rev-parse --short=12 HEAD 2>/dev/null),unknown)
DATE     ?= $(or $(shell git log -1 --format=%cI 2>/dev/null),unknown)
LDFLAGS   = -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)
ARCH      = $(shell go env GOARCH)
ARCHIVE   = pgdrover_$(VERSION)_linux_$(ARCH).tar.gz
FUZZTIME ?= 10s
ARGS     ?=
T        ?= 2m
SEED     ?= 0

.PHONY: build demo test race fuzz lint fmt integration oracle mutants bench cover docker release

build: ## ./pgdrover
	go build -trimpath -ldflags '$(LDFLAGS)' -o pgdrover .

demo: build ## PostgreSQL, pgdrover in front of it, and what to type
	./pgdrover demo

# One package at a time: each starts servers of its own, and two cores are soon busy.
test: ## everything
	go test -p 1 -timeout 20m ./...

race: ## everything, under the race detector; needs a C compiler
	CGO_ENABLED=1 go test -p 1 -race -timeout 25m ./...

fuzz: ## each fuzz test for FUZZTIME
	@for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	  echo "$$p $$f" && go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

lint: ## prints nothing if all is well
	@unformatted=$$(go tool gofumpt -l .); test -z "$$unformatted" || { echo "make fmt would change:"; echo "$$unformatted"; exit 1; }
	go vet ./... && go tool staticcheck ./...

fmt:
	go tool gofumpt -w .

integration: ## the tests with real servers and clients, afresh
	go test -count=1 -timeout 20m ./integration/...

oracle: ## shards compared with one PostgreSQL for T, from SEED (the time of day unless set)
	go test -count=1 -timeout 0 -v -run '^TestShardsAreLikeOnePostgreSQL$$' ./integration/oracle -oracle.time $(T) -oracle.seed $(SEED)

mutants: ## the same must find each rule of the planner that is switched off
	go test -count=1 -timeout 40m -v -tags mutate -run '^TestEveryRuleOfThePlannerIsMissed$$' ./integration/oracle -oracle.seed $(SEED)

bench: ## side by side with PgBouncer; ARGS=-quick for a first look
	go run ./bench $(ARGS)

cover: ## coverage.out and the total
	go test -timeout 20m -coverpkg=./... -coverprofile=coverage.out ./... && go tool cover -func=coverage.out | tail -n 1

docker:
	docker build --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) --build-arg DATE=$(DATE) -t pgdrover:$(VERSION) .

release: ## dist/ARCHIVE and its checksum; the same source gives the same bytes
	mkdir -p dist && $(MAKE) build LDFLAGS='-s -w $(LDFLAGS)'
	tar -I 'gzip -n' --sort=name --owner=0 --group=0 --numeric-owner --mtime='$(or $(filter-out unknown,$(DATE)),1970-01-01)' \
	  -cf dist/$(ARCHIVE) pgdrover LICENSE CHANGELOG.md README.md config.toml.example
	cd dist && sha256sum $(ARCHIVE) > $(ARCHIVE).sha256
